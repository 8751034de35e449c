import NIOCore
import Synchronization

/// Whose turn it is on a connection. While the server works on an answer, or waits for its stores, it is not the client
/// who is idle, however long that takes.
final class Turn: Sendable {
    /// Requests that the server has in hand; an HTTP/2 connection has many at once.
    private let atWork = Atomic(0)
    private let ended = Atomic(NIODeadline.now().uptimeNanoseconds)

    /// Since when the client may do something and does not, as far as we know. Nil while it is the server's turn.
    var clientsSince: NIODeadline? {
        guard atWork.load(ordering: .acquiring) <= 0 else { return nil }
        return .uptimeNanoseconds(ended.load(ordering: .acquiring))
    }

    /// The server's turn.
    func server<Result>(_ work: () async throws -> Result) async rethrows -> Result {
        begin()
        defer { end() }
        return try await work()
    }

    /// Within the server's turn, the client's.
    func client<Result>(_ wait: () async throws -> Result) async rethrows -> Result {
        end()
        defer { begin() }
        return try await wait()
    }

    private func begin() { atWork.add(1, ordering: .releasing) }

    private func end() {
        ended.store(NIODeadline.now().uptimeNanoseconds, ordering: .releasing)
        atWork.subtract(1, ordering: .releasing)
    }
}
