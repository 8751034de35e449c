package import Logging
package import NIOCore
import NIOHTTP1
import NIOHTTP2
package import NIOPosix
import NIOSSL
import NIOTLS
package import Telemetry

/// Accepts connections, in clear or under TLS, and hands their requests to a responder: HTTP/1.1, and HTTP/2 under TLS.
package struct HTTPServer: Sendable {
    private let responder: any Responder
    private let limits: ServerLimits
    private let certificates: CertificateStore?
    private let group: MultiThreadedEventLoopGroup
    private let logger: Logger
    private let tracker: ConnectionTracker

    package init(
        responder: any Responder,
        limits: ServerLimits,
        certificates: CertificateStore?,
        group: MultiThreadedEventLoopGroup,
        connections: Counter,
        logger: Logger
    ) {
        (self.responder, self.limits, self.certificates) = (responder, limits, certificates)
        (self.group, self.logger) = (group, logger)
        tracker = ConnectionTracker(limit: limits.connections, gauge: connections)
    }

    /// Something that sends requests: a connection, or a stream of one.
    private struct Source: Sendable {
        let reader: NIOLoopBound<RequestReader>
        let writer: ResponseWriter
    }

    private enum Connection: Sendable {
        case http1(Source)
        case http2(any Channel, NIOHTTP2Handler.AsyncStreamMultiplexer<Source>)
    }

    /// Serves until `shutdown` returns, then lets the requests in flight finish within the limit.
    ///
    /// - Parameter onListening: told the address that is really listened on.
    /// - Throws: ``ListenError`` if the address cannot be bound.
    package func run(
        host: String,
        port: Int,
        onListening: @Sendable (SocketAddress?) -> Void,
        until shutdown: @escaping @Sendable () async -> Void
    ) async throws {
        let listener = try await listen(host, port)
        onListening(listener.channel.localAddress)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                await shutdown()
                try? await listener.channel.close()  // it may be closed already; then there is nothing to stop
                tracker.drain()
                try await Task.sleep(for: limits.drain)
                logger.warning(
                    "requests did not finish in time and are cut off",
                    metadata: ["connections": "\(tracker.count)"]
                )
                tracker.closeAll()
            }
            try await accept(from: listener)
            group.cancelAll()
            while let result = await group.nextResult() {
                if case .failure(let error) = result, !(error is CancellationError) { throw error }
            }
        }
    }

    private func listen(_ host: String, _ port: Int) async throws -> NIOAsyncChannel<EventLoopFuture<Connection>, Never>
    {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            // A client may say that it sends no more and still wait for its answer.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 65_536, maximum: 256 * 1024)
            )
        do {
            return try await bootstrap.bind(
                host: host,
                port: port,
                serverBackPressureStrategy: .init(lowWatermark: 1, highWatermark: 8)
            ) { setUp($0) }
        } catch let error as IOError {
            throw ListenError(host: host, port: port, code: error.errnoCode)
        } catch is SocketAddressError.UnknownHost {
            throw ListenError(unknown: host, port: port)
        }
    }

    private func accept(from listener: NIOAsyncChannel<EventLoopFuture<Connection>, Never>) async throws {
        try await withThrowingDiscardingTaskGroup { group in
            try await listener.executeThenClose { connections in
                for try await connection in connections {
                    await tracker.enter()
                    group.addTask { await serve(connection) }
                }
            }
        }
    }

    // MARK: - Pipelines

    private func setUp(_ channel: any Channel) -> EventLoopFuture<EventLoopFuture<Connection>> {
        tracker.add(channel)
        channel.closeFuture.whenComplete { [tracker] _ in tracker.remove(channel) }
        return channel.eventLoop.makeCompletedFuture {
            guard let certificates else {
                return channel.eventLoop.makeSucceededFuture(try setUpHTTP1(channel))
            }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: certificates.context))
            let negotiation = NIOTypedApplicationProtocolNegotiationHandler<Connection> { result, channel in
                channel.eventLoop.makeCompletedFuture {
                    if case .negotiated("h2") = result { return try setUpHTTP2(channel) }
                    return try setUpHTTP1(channel)
                }
            }
            try channel.pipeline.syncOperations.addHandler(negotiation)
            return negotiation.protocolNegotiationResult
        }
    }

    private func setUpHTTP1(_ channel: any Channel) throws -> Connection {
        var decoderLimits = NIOHTTPDecoderLimitConfiguration()
        decoderLimits.maxHeaderFieldSize = limits.headerBytes
        decoderLimits.maxHeaderListSize = limits.headerBytes
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(IdleCloser(after: limits.idle))
        try pipeline.addHandler(ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: decoderLimits)))
        return .http1(try addReader(to: channel, .http1(sendsFiles: certificates == nil)))
    }

    private func setUpHTTP2(_ channel: any Channel) throws -> Connection {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(IdleCloser(after: limits.idle))
        // The windows let a stream receive 1 MiB before we must answer; the default of 64 KiB makes every upload wait.
        var configuration = NIOHTTP2Handler.Configuration()
        configuration.connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: 100),
            HTTP2Setting(parameter: .maxHeaderListSize, value: limits.headerBytes),
            HTTP2Setting(parameter: .initialWindowSize, value: 1 << 20),
        ]
        configuration.stream.targetWindowSize = 1 << 20
        let multiplexer = try pipeline.configureAsyncHTTP2Pipeline(
            mode: .server,
            streamDelegate: nil,
            configuration: configuration
        ) { stream in
            stream.eventLoop.makeCompletedFuture {
                try stream.pipeline.syncOperations.addHandler(HTTP2FramePayloadToHTTP1ServerCodec())
                return try addReader(to: stream, .http2)
            }
        }
        return .http2(channel, multiplexer)
    }

    private func addReader(to channel: any Channel, _ wire: ResponseWriter.Wire) throws -> Source {
        let reader = RequestReader()
        try channel.pipeline.syncOperations.addHandler(reader)
        try channel.syncOptions?.setOption(.autoRead, value: false)
        return Source(
            reader: NIOLoopBound(reader, eventLoop: channel.eventLoop),
            writer: ResponseWriter(channel: channel, wire: wire)
        )
    }

    // MARK: - Serving

    private func serve(_ pending: EventLoopFuture<Connection>) async {
        defer { tracker.leave() }
        do {
            switch try await pending.get() {
            case .http1(let source): await serve(source, on: source.writer.channel)
            case .http2(let connection, let multiplexer):
                try await withThrowingDiscardingTaskGroup { group in
                    for try await stream in multiplexer.inbound {
                        group.addTask { await serve(stream, on: connection) }
                    }
                }
            }
        } catch {
            logger.debug("connection failed", metadata: ["error": "\(error)"])
        }
    }

    private func serve(_ source: Source, on connection: any Channel) async {
        let channel = source.writer.channel
        await withTaskExecutorPreference(EventLoopExecutor(channel.eventLoop)) {
            let exchange = HTTPExchange(
                writer: source.writer,
                connection: connection,
                tracker: tracker,
                responder: responder
            )
            do {
                try await exchange.serve(source.reader.value)
            } catch {
                logger.debug("connection ended", metadata: ["error": "\(error)"])
            }
            try? await channel.close()  // it may be closed already; then there is nothing to do
        }
    }
}
