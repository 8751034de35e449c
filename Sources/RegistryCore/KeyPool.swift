import BlobStorage
import Metadata
import Synchronization

/// Storage keys that the trash already knows, so that an object never exists without a row. Made many at a time: one
/// durable write then serves many uploads.
final class KeyPool: Sendable {
    private struct State {
        var keys: [StorageKey] = []
        /// By ``Surroundings/uptime``.
        var madeAt = Duration.zero
    }

    private let metadata: MetadataStore
    private let surroundings: Surroundings
    private let state = Mutex(State())

    /// Keys in one write.
    private let batch: Int
    /// After this a key is left to the collector: its upload might outlive the key's time in the trash.
    private let maximumAge: Duration

    /// - Parameter uploadLifetime: how long a key stays in the trash before it is deleted.
    init(metadata: MetadataStore, batch: Int, uploadLifetime: Duration, _ surroundings: Surroundings) {
        (self.metadata, self.batch, self.surroundings) = (metadata, batch, surroundings)
        maximumAge = min(.seconds(3600), uploadLifetime / 4)
    }

    func take() async throws -> StorageKey {
        if let key = popFresh() { return key }
        let made = (0..<batch).map { _ in StorageKey(bytes: surroundings.randomBytes(StorageKey.size)) }
        try await metadata.registerKeys(made.map(\.bytes))
        state.withLock { state in
            if surroundings.uptime() - state.madeAt > maximumAge { state.keys = [] }
            if state.keys.isEmpty { state.madeAt = surroundings.uptime() }
            state.keys += made.dropFirst()
        }
        return made[0]
    }

    private func popFresh() -> StorageKey? {
        state.withLock { state in
            surroundings.uptime() - state.madeAt > maximumAge ? nil : state.keys.popLast()
        }
    }
}
