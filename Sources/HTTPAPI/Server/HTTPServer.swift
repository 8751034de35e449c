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

    private enum Connection: Sendable {
        case http1(NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>)
        case http2(
            any Channel,
            NIOHTTP2Handler.AsyncStreamMultiplexer<NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>>
        )
    }

    /// Serves until `shutdown` returns, then lets the requests in flight finish within the limit.
    ///
    /// - Parameter onListening: told the address that is really listened on.
    /// - Throws: `IOError` if the address cannot be bound.
    package func run(
        host: String,
        port: Int,
        onListening: @Sendable (SocketAddress?) -> Void,
        until shutdown: @escaping @Sendable () async -> Void
    ) async throws {
        let listener = try await ServerBootstrap(group: group)
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
            .bind(host: host, port: port, serverBackPressureStrategy: .init(lowWatermark: 1, highWatermark: 8)) {
                setUp($0)
            }
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
                return channel.eventLoop.makeSucceededFuture(.http1(try setUpHTTP1(channel)))
            }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: certificates.context))
            let negotiation = NIOTypedApplicationProtocolNegotiationHandler<Connection> { result, channel in
                channel.eventLoop.makeCompletedFuture {
                    if case .negotiated("h2") = result { return try setUpHTTP2(channel) }
                    return .http1(try setUpHTTP1(channel))
                }
            }
            try channel.pipeline.syncOperations.addHandler(negotiation)
            return negotiation.protocolNegotiationResult
        }
    }

    private func setUpHTTP1(
        _ channel: any Channel
    ) throws -> NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart> {
        var decoderLimits = NIOHTTPDecoderLimitConfiguration()
        decoderLimits.maxHeaderFieldSize = limits.headerBytes
        decoderLimits.maxHeaderListSize = limits.headerBytes
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(IdleStateHandler(allTimeout: limits.idle))
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false,
            withErrorHandling: false,
            withEncoderConfiguration: .init(),
            withDecoderLimitConfiguration: decoderLimits
        )
        try pipeline.addHandler(IdleCloser())
        return try asyncChannel(channel)
    }

    private func setUpHTTP2(_ channel: any Channel) throws -> Connection {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(IdleStateHandler(allTimeout: limits.idle))
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
                return try asyncChannel(stream)
            }
        }
        try pipeline.addHandler(IdleCloser())
        return .http2(channel, multiplexer)
    }

    private func asyncChannel(
        _ channel: any Channel
    ) throws -> NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart> {
        try NIOAsyncChannel(
            wrappingChannelSynchronously: channel,
            configuration: .init(
                backPressureStrategy: .init(lowWatermark: 1, highWatermark: 2),
                isOutboundHalfClosureEnabled: true
            )
        )
    }

    // MARK: - Serving

    private func serve(_ pending: EventLoopFuture<Connection>) async {
        defer { tracker.leave() }
        do {
            switch try await pending.get() {
            case .http1(let channel):
                await serve(channel, on: channel.channel, canSendFiles: certificates == nil)
            case .http2(let connection, let multiplexer):
                try await withThrowingDiscardingTaskGroup { group in
                    for try await stream in multiplexer.inbound {
                        group.addTask { await serve(stream, on: connection, canSendFiles: false) }
                    }
                }
            }
        } catch {
            logger.debug("connection failed", metadata: ["error": "\(error)"])
        }
    }

    private func serve(
        _ channel: NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>,
        on connection: any Channel,
        canSendFiles: Bool
    ) async {
        await withTaskExecutorPreference(EventLoopExecutor(channel.channel.eventLoop)) {
            do {
                try await channel.executeThenClose { inbound, _ in
                    let exchange = HTTPExchange(
                        channel: channel.channel,
                        connection: connection,
                        canSendFiles: canSendFiles,
                        tracker: tracker,
                        responder: responder
                    )
                    try await exchange.serve(inbound.makeAsyncIterator())
                }
            } catch {
                logger.debug("connection ended", metadata: ["error": "\(error)"])
            }
        }
    }
}

/// Closes a connection on which nothing has moved for too long.
private final class IdleCloser: ChannelInboundHandler {
    typealias InboundIn = NIOAny

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }
}
