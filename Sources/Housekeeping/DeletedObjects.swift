import Metadata
import Synchronization

/// What tasks deleted at the same time, and what they could not.
final class DeletedObjects: Sendable {
    private struct State {
        var keys: [[UInt8]] = []
        var bytes: Int64 = 0
        var failures = 0
        var firstFailure: (any Error)?
    }

    private let state = Mutex(State())

    func add(_ object: CondemnedObject) {
        state.withLock { state in
            state.keys.append(object.key)
            state.bytes += object.size
        }
    }

    func fail(_ error: any Error) {
        state.withLock { state in
            state.failures += 1
            state.firstFailure = state.firstFailure ?? error
        }
    }

    /// How many could not be deleted, and why the first of them; nil if all could.
    var failure: (count: Int, first: any Error)? {
        state.withLock { state in state.firstFailure.map { (count: state.failures, first: $0) } }
    }

    var keys: [[UInt8]] { state.withLock(\.keys) }
    var bytes: Int64 { state.withLock(\.bytes) }
}
