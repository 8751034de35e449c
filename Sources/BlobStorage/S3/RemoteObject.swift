import AsyncHTTPClient
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// An object that the store sends.
package struct RemoteObject: Sendable {
    package let key: StorageKey
    /// Bytes.
    package let size: Int64
    private let makeReader: @Sendable (Range<Int64>, ObjectAudience) -> any ObjectReader

    /// - Parameter reader: reads a range of it from front to back.
    package init(key: StorageKey, size: Int64, reader: @escaping @Sendable (Range<Int64>) -> any ObjectReader) {
        (self.key, self.size, makeReader) = (key, size, { range, _ in reader(range) })
    }

    init(client: S3Client, key: StorageKey, size: Int64) {
        (self.key, self.size, makeReader) = (key, size, { RemoteReader(client, key, size, $0, for: $1) })
    }

    func reader(_ range: Range<Int64>, for audience: ObjectAudience) -> any ObjectReader { makeReader(range, audience) }
}

/// Reads part of an object as the store sends it: no faster than it is asked for, and no further when it is let go. What
/// breaks off is asked for again from there on.
final class RemoteReader: ObjectReader {
    private let client: S3Client
    private let key: StorageKey
    /// Bytes of the object.
    private let size: Int64
    private var rest: Range<Int64>
    private let audience: ObjectAudience
    private let answer = Answer()
    private var failures = 0

    /// Failures in a row, without a byte between them, until we give up.
    private static let maximumFailures = 4
    /// Bytes that are in memory for a client that reads slowly.
    private static let pieceSize = 64 * 1024

    init(_ client: S3Client, _ key: StorageKey, _ size: Int64, _ rest: Range<Int64>, for audience: ObjectAudience) {
        (self.client, self.key, self.size, self.rest, self.audience) = (client, key, size, rest, audience)
    }

    func next() async throws -> ByteBuffer? {
        while !rest.isEmpty {
            do {
                let state = answer.take()
                if let chunk = try await state.isReleased ? readPiece() : readOn(state) {
                    guard chunk.readableBytes > 0 else { continue }
                    let count = Int64(chunk.readableBytes)
                    guard count <= rest.upperBound - rest.lowerBound else {
                        throw BlobStorageError.refused("the store sent more of \(key) than was asked for")
                    }
                    rest = rest.lowerBound + count..<rest.upperBound
                    failures = 0
                    return chunk
                }
                try await retry("it ended \(rest.count) bytes early")
            } catch let error as BlobStorageError {
                throw error
            } catch {
                try Task.checkCancellation()
                try await retry("\(error)")
            }
        }
        return nil
    }

    private func readOn(_ state: Answer.State) async throws -> ByteBuffer? {
        nonisolated(unsafe) var pieces = state.pieces
        if pieces == nil { pieces = try await open(rest)?.body.makeAsyncIterator() }
        guard let chunk = try await pieces?.next() else { return nil }
        answer.keep(pieces)
        return chunk
    }

    /// The connection, without which the store's other requests would wait for a client that does not read. Until it reads
    /// faster, it gets small pieces, each of which is all there before it is sent.
    var release: (@Sendable () -> Void)? { { [answer] in answer.release() } }

    private func readPiece() async throws -> ByteBuffer? {
        let end = min(rest.lowerBound + Int64(Self.pieceSize), rest.upperBound)
        guard let response = try await open(rest.lowerBound..<end) else { return nil }
        let piece = try await response.body.collect(upTo: Self.pieceSize)
        return piece.readableBytes > 0 ? piece : nil
    }

    /// The store's answer between two pieces of it. Once nobody has it, its connection is closed.
    private final class Answer: Sendable {
        // Unchecked: whoever takes it out of the mutex is the only one who has it.
        struct State: @unchecked Sendable {
            var pieces: HTTPClientResponse.Body.AsyncIterator?
            var isReleased = false
        }

        private let state = Mutex(State())

        func take() -> State { exchange(State()) }

        func keep(_ pieces: HTTPClientResponse.Body.AsyncIterator?) { _ = exchange(State(pieces: pieces)) }

        func release() { _ = exchange(State(isReleased: true)) }

        /// - Returns: what was there, which goes when the mutex is free again.
        private func exchange(_ new: State) -> State {
            state.withLock { state in
                defer { state = new }
                return state
            }
        }
    }

    private func retry(_ reason: String) async throws {
        failures += 1
        guard failures < Self.maximumFailures else {
            throw BlobStorageError.unavailable("reading \(key): \(reason)")
        }
        client.logger.info("object is read on", metadata: ["key": "\(key)", "reason": "\(reason)"])
        try await S3Client.pause(after: failures)
    }

    private func open(_ range: Range<Int64>) async throws -> HTTPClientResponse? {
        let connections = audience == .client ? client.downloads : client.http
        let identity = try await client.credentials.get()
        let response = try await client.get(client.configuration.name(of: key), range, as: identity, by: connections)
        switch response.status.code {
        case 206: return response
        // A store that ignores the range may do so only where it asked for everything.
        case 200 where range == 0..<size: return response
        case 404, 416: throw BlobStorageError.missing(key)
        default:
            let answer = S3Client.Answer(
                status: Int(response.status.code),
                headers: response.headers,
                body: try await response.body.collect(upTo: 1 << 20)
            )
            if answer.refusesCredentials, await client.credentials.replace(identity) { return nil }
            guard S3Client.isTemporary(answer) else {
                throw BlobStorageError.refused("GET \(key): \(answer.status) \(answer.errorCode)")
            }
            try await retry("\(answer.status) \(answer.errorCode)")
            return nil
        }
    }
}
