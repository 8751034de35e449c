import NIOCore
import NIOHTTP1

/// The parts of the requests of one connection. Used by one task, the connection's.
final class RequestBody {
    private let reader: RequestReader
    private let writer: ResponseWriter
    private var isAtEnd = true
    private var mustContinue = false
    /// From `Content-Length`; nil if the body comes in chunks.
    private(set) var length: Int64?
    private var received: Int64 = 0

    init(_ reader: RequestReader, writer: ResponseWriter) {
        self.reader = reader
        self.writer = writer
    }

    /// The head of the next request; nil if the client sends no more.
    func nextHead() async throws -> HTTPRequestHead? {
        guard let part = try await reader.next() else { return nil }
        guard case .head(let head) = part else { throw UnexpectedPart() }
        isAtEnd = false
        received = 0
        let isChunked = head.headers.contains(name: "Transfer-Encoding")
        length = head.headers.first(name: "Content-Length").flatMap { Int64($0) } ?? (isChunked ? nil : 0)
        if head.version.major == 2, !head.headers.contains(name: "Content-Length") { length = nil }
        let expectation = head.headers.first(name: "Expect")?.lowercased()
        mustContinue = expectation == "100-continue" && head.version == .http1_1
        return head
    }

    /// The next bytes; nil at the end. Tells a client that waits for it to go ahead.
    ///
    /// - Throws: ``ClientGone`` if the client went away before the end.
    func next() async throws -> ByteBuffer? { try await writer.turn.client { try await take() } }

    private func take() async throws -> ByteBuffer? {
        guard !isAtEnd else { return nil }
        if mustContinue {
            mustContinue = false
            try await writer.writeContinue()
        }
        let part: HTTPServerRequestPart?
        do {
            part = try await reader.next()
        } catch is HTTPParserError {
            throw ClientGone()
        }
        switch part {
        case .body(let bytes):
            received += Int64(bytes.readableBytes)
            return bytes
        case .end:
            isAtEnd = true
            return nil
        case .head, nil:
            throw ClientGone()
        }
    }

    /// The whole body.
    ///
    /// - Returns: nil if it has more than `limit` bytes; then no more than that was read.
    func collect(upTo limit: Int) async throws -> ByteBuffer? {
        if let length, length > Int64(limit) { return nil }
        var all = ByteBuffer()
        while var bytes = try await next() {
            guard all.readableBytes + bytes.readableBytes <= limit else { return nil }
            if all.readableBytes == 0 { all = bytes } else { all.writeBuffer(&bytes) }
        }
        return all
    }

    /// Whether what is left of the body is, or may be, small enough to be read and dropped.
    var canBeDrained: Bool {
        isAtEnd || (!mustContinue && (length ?? 0) - received <= ServerLimits.drainedBody)
    }

    /// Reads and drops, up to a limit, what the client still sends on a connection that will be closed.
    func discardRest() async throws {
        var dropped: Int64 = 0
        while dropped <= ServerLimits.lingeringBody, let part = try await reader.next() {
            if case .body(let bytes) = part { dropped += Int64(bytes.readableBytes) }
        }
    }

    /// Reads and drops what an early answer left unread, up to a limit.
    ///
    /// - Returns: whether the end was reached, so that the connection can be used again.
    func drain() async throws -> Bool {
        let start = received
        // A client that waits for 100 Continue will not send its body after another answer.
        guard !mustContinue else { return isAtEnd }
        while !isAtEnd, received - start <= ServerLimits.drainedBody {
            do {
                _ = try await take()
            } catch is ClientGone {
                return false
            }
        }
        return isAtEnd
    }
}

/// The client went away in the middle of a request.
struct ClientGone: Error {}

private struct UnexpectedPart: Error {}
