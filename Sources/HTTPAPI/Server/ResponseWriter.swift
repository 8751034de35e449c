import BlobStorage
import NIOCore
import NIOHTTP1
import Synchronization

/// Puts answers on the wire of one connection, or of one HTTP/2 stream.
struct ResponseWriter: Sendable {
    enum Wire: Sendable {
        /// Bytes, composed here: one buffer and one pass through the pipeline for a small answer.
        case http1(sendsFiles: Bool)
        /// Parts, for the HTTP/2 codec.
        case http2
    }

    let channel: any Channel
    let wire: Wire
    let turn: Turn

    /// Tells a client that waits for it to send its body.
    func writeContinue() async throws {
        switch wire {
        case .http1: try await channel.writeAndFlush(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n")).get()
        case .http2:
            let head = HTTPResponseHead(version: .http2, status: .continue)
            try await channel.writeAndFlush(HTTPServerResponsePart.head(head)).get()
        }
    }

    /// Returns when the answer has been handed to the kernel.
    ///
    /// - Throws: ``BodyUnavailable`` if nothing was sent yet because the body cannot be read.
    func write(_ response: HTTPResponse, to request: HTTPRequestHead, keepsAlive: Bool) async throws {
        var headers = response.headers
        headers.add(name: "Date", value: HTTPDate.now)
        if !headers.contains(name: "Content-Length"), response.status.mayHaveBody {
            headers.add(name: "Content-Length", value: "\(response.body.count)")
        }
        let body = request.method == .HEAD ? .none : response.body
        let pieces = try await Pieces(of: body, sendsFiles: sendsFiles, turn)
        switch wire {
        case .http1:
            if !keepsAlive { headers.replaceOrAdd(name: "Connection", value: "close") }
            if keepsAlive, request.version == .http1_0 { headers.replaceOrAdd(name: "Connection", value: "keep-alive") }
            var bytes = channel.allocator.buffer(capacity: 512 + Int(min(body.count, Self.joined)))
            try bytes.writeHead(request.version, response.status, headers)
            try await write(bytes, body, pieces)
        case .http2:
            let head = HTTPResponseHead(version: request.version, status: response.status, headers: headers)
            channel.write(HTTPServerResponsePart.head(head), promise: nil)
            switch body {
            case .none: break
            case .bytes(let bytes): channel.write(HTTPServerResponsePart.body(.byteBuffer(bytes)), promise: nil)
            case .object:
                try await pieces?.send(on: channel.eventLoop) { piece in
                    channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(piece)))
                }
            }
            try await channel.writeAndFlush(HTTPServerResponsePart.end(nil)).get()
        }
    }

    /// Most bytes of a body that are copied behind the head rather than written by themselves.
    private static let joined: Int64 = 64 * 1024

    private var sendsFiles: Bool { if case .http1(let sendsFiles) = wire { sendsFiles } else { false } }

    private func write(_ head: ByteBuffer, _ body: HTTPResponse.Body, _ pieces: Pieces?) async throws {
        switch body {
        case .none: try await flush(head)
        case .bytes(let bytes) where bytes.readableBytes <= Self.joined:
            var all = head
            all.writeImmutableBuffer(bytes)
            try await flush(all)
        case .bytes(let bytes):
            channel.write(head, promise: nil)
            try await channel.writeAndFlush(bytes).get()
        case .object(.file(let file), let range) where sendsFiles:
            channel.write(head, promise: nil)
            try await send(file, range)
        case .object(_, let range):
            // Flushed with the first piece, each of which waits until the one before has gone: memory stays bounded.
            channel.write(head, promise: nil)
            try await pieces?.send(on: channel.eventLoop) { channel.writeAndFlush($0) }
            if range.isEmpty { try await channel.writeAndFlush(ByteBuffer()).get() }
        }
    }

    /// Writes a small answer; waits only if the socket did not take all of it at once.
    private func flush(_ bytes: ByteBuffer) async throws {
        channel.writeAndFlush(bytes, promise: nil)
        guard try channel.syncOptions?.getOption(.bufferedWritableBytes) != 0 else { return }
        try await channel.writeAndFlush(ByteBuffer()).get()
    }

    /// Sends part of a file without copying it, a piece at a time, each only when the one before has gone: a client
    /// that reads slowly is still seen to read.
    private func send(_ file: ObjectFile, _ range: Range<Int64>) async throws {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: 1 << 20) {
            let region = try file.region(start..<min(start + 1 << 20, range.upperBound))
            defer { try? region.fileHandle.close() }  // a duplicate for reading: closing it can lose nothing
            try await channel.writeAndFlush(IOData.fileRegion(region)).get()
        }
        if range.isEmpty { try await channel.writeAndFlush(ByteBuffer()).get() }
    }
}

/// Why an answer's body cannot be read, while the client can still be told.
struct BodyUnavailable: Error {
    let cause: any Error
}

/// An object that is read piece by piece, the first of which is there before the answer begins.
private final class Pieces {
    private let reader: any ObjectReader
    private let turn: Turn
    private var first: ByteBuffer?

    /// Nil for a body that is sent in another way.
    init?(of body: HTTPResponse.Body, sendsFiles: Bool, _ turn: Turn) async throws {
        guard case .object(let object, let range) = body else { return nil }
        if case .file = object, sendsFiles { return nil }
        reader = object.reader(range, for: .client)
        self.turn = turn
        do {
            first = try await read()
        } catch {
            throw BodyUnavailable(cause: error)
        }
    }

    /// A client that has taken nothing for so long, and at most twice that, does not keep what the reader holds.
    private static let patience = TimeAmount.seconds(2)

    /// Sends all of them, each when the one before has gone.
    func send(on loop: any EventLoop, _ write: (ByteBuffer) -> EventLoopFuture<Void>) async throws {
        let progress = Progress()
        let watch = reader.release.map { release in
            loop.scheduleRepeatedTask(initialDelay: Self.patience, delay: Self.patience) { _ in
                if progress.isStuck() { release() }
            }
        }
        defer { watch?.cancel() }
        while let piece = try await next() {
            progress.step()
            try await write(piece).get()
            progress.step()
        }
    }

    /// Says whether a client still has not taken the piece that it was being sent when that was last asked.
    private final class Progress: Sendable {
        /// Odd while a piece is on its way.
        private let steps = Mutex((now: 0, seen: 0))

        func step() { steps.withLock { $0.now += 1 } }

        func isStuck() -> Bool {
            steps.withLock { steps in
                defer { steps.seen = steps.now }
                return steps.now == steps.seen && !steps.now.isMultiple(of: 2)
            }
        }
    }

    private func next() async throws -> ByteBuffer? {
        guard let piece = first else { return try await read() }
        first = nil
        return piece
    }

    private func read() async throws -> ByteBuffer? { try await turn.server { try await reader.next() } }
}

/// An answer's header would end early or begin another one: a defect, stopped before it splits a response.
struct UnwritableHeader: Error {
    let name: String
}

extension HTTPResponseStatus {
    fileprivate var mayHaveBody: Bool { code >= 200 && code != 204 && code != 304 }
}

extension ByteBuffer {
    /// Source: [RFC 9112, section 4](https://www.rfc-editor.org/rfc/rfc9112#section-4).
    fileprivate mutating func writeHead(
        _ version: HTTPVersion,
        _ status: HTTPResponseStatus,
        _ headers: HTTPHeaders
    ) throws {
        writeStaticString(version == .http1_0 ? "HTTP/1.0 " : "HTTP/1.1 ")
        writeString("\(status.code) \(status.reasonPhrase)\r\n")
        for (name, value) in headers {
            guard value.utf8.allSatisfy({ $0 >= 32 && $0 != 127 || $0 == 9 }) else {
                throw UnwritableHeader(name: name)
            }
            writeString(name)
            writeStaticString(": ")
            writeString(value)
            writeStaticString("\r\n")
        }
        writeStaticString("\r\n")
    }
}
