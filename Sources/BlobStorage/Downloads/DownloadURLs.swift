package import FoundationEssentials
import Synchronization

/// Makes a URL from which anybody may read an object for a while.
package protocol ObjectURLSigner: Sendable {
    /// - Parameter lifetime: seconds from now on.
    /// - Throws: ``BlobStorageError``.
    func signedURL(of key: StorageKey, lifetime: Int) async throws -> SignedURL

    /// Another number once what was signed before is not good any more.
    var keyGeneration: Int { get }
}

extension ObjectURLSigner {
    package var keyGeneration: Int { 0 }
}

package struct SignedURL: Hashable, Sendable {
    package let text: String
    /// When it stops being good: what signed it may end before the time that was asked for.
    package let expiresAt: Date

    package init(_ text: String, expiresAt: Date) { (self.text, self.expiresAt) = (text, expiresAt) }
}

/// URLs from which clients read objects without us. The same one is given for a while: a signature costs more than the
/// rest of such an answer.
package final class DownloadURLs: Sendable {
    private struct Made {
        let url: String
        let keyGeneration: Int
        /// From then on it is too old to be given.
        let end: ContinuousClock.Instant
    }

    private struct Memory {
        /// Two generations: when the young one is full, the old one goes.
        var young: [StorageKey: Made] = [:]
        var old: [StorageKey: Made] = [:]
    }

    private let signer: any ObjectURLSigner
    /// Seconds.
    private let lifetime: Int
    private let memory = Mutex(Memory())

    /// URLs of a generation: some 600 bytes each.
    private static let generation = 8192

    /// Longest time for which the same one is given.
    private static let longestReuse: TimeInterval = 300

    /// - Parameter lifetime: how long a URL is good for when it is made, or as long as what signs it; at least three quarters
    ///   of that when it is given.
    package init(_ signer: any ObjectURLSigner, lifetime: Duration) {
        self.signer = signer
        self.lifetime = Int(lifetime.components.seconds)
    }

    /// - Throws: ``BlobStorageError``.
    package func url(of key: StorageKey) async throws -> String {
        let now = ContinuousClock.now
        let generation = signer.keyGeneration
        if let made = remembered(key), now < made.end, made.keyGeneration == generation { return made.url }
        let signed = try await signer.signedURL(of: key, lifetime: lifetime)
        let reuse = min(Self.longestReuse, signed.expiresAt.timeIntervalSinceNow / 4)
        remember(Made(url: signed.text, keyGeneration: generation, end: now + .seconds(reuse)), for: key)
        return signed.text
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
