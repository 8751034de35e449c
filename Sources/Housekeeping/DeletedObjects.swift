import Metadata
import Synchronization

/// What tasks deleted at the same time.
final class DeletedObjects: Sendable {
    private let state = Mutex<(keys: [[UInt8]], bytes: Int64)>(([], 0))

    func add(_ object: CondemnedObject) {
        state.withLock { state in
            state.keys.append(object.key)
            state.bytes += object.size
        }
    }

    var keys: [[UInt8]] { state.withLock(\.keys) }
    var bytes: Int64 { state.withLock(\.bytes) }
}
