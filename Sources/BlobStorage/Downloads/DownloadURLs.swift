import FoundationEssentials
import Synchronization

/// Makes a URL from which anybody may read an object for a while.
package protocol ObjectURLSigner: Sendable {
    /// - Parameter lifetime: seconds from now on.
    /// - Throws: ``BlobStorageError``.
    func signedURL(of key: StorageKey, lifetime: Int) async throws -> String
}

/// URLs from which clients read objects without us. The same one is given for a while: a signature costs more than the
/// rest of such an answer.
package final class DownloadURLs: Sendable {
    private struct Made {
        let url: String
        let at: ContinuousClock.Instant
    }

    private struct Memory {
        /// Two generations: when the young one is full, the old one goes.
        var young: [StorageKey: Made] = [:]
        var old: [StorageKey: Made] = [:]
    }

    private let signer: any ObjectURLSigner
    /// Seconds.
    private let lifetime: Int
    private let reuse: Duration
    private let memory = Mutex(Memory())

    /// URLs of a generation: some 600 bytes each.
    private static let generation = 8192

    /// - Parameter lifetime: how long a URL is good for when it is made; at least three quarters of it when it is given.
    package init(_ signer: any ObjectURLSigner, lifetime: Duration) {
        self.signer = signer
        self.lifetime = Int(lifetime.components.seconds)
        reuse = min(.seconds(300), lifetime / 4)
    }

    /// - Throws: ``BlobStorageError``.
    package func url(of key: StorageKey) async throws -> String {
        let now = ContinuousClock.now
        if let made = remembered(key), now - made.at < reuse { return made.url }
        let url = try await signer.signedURL(of: key, lifetime: lifetime)
        remember(Made(url: url, at: now), for: key)
        return url
    }

    private func remembered(_ key: StorageKey) -> Made? {
        memory.withLock { $0.young[key] ?? $0.old[key] }
    }

    private func remember(_ made: Made, for key: StorageKey) {
        memory.withLock { memory in
            if memory.young.count >= Self.generation { (memory.old, memory.young) = (memory.young, [:]) }
            memory.young[key] = made
        }
    }
}
