import CLibCrypto
import OCI
import Synchronization

/// Names an upload session. Made and checked without a database: opening a session writes nothing.
package struct UploadID: Hashable, Sendable, CustomStringConvertible {
    /// 8 bytes start (seconds since 1970), 12 random bytes, 1 byte algorithm, 16 bytes of an HMAC over these and the
    /// repository.
    let bytes: [UInt8]
    static let size = 37

    package var description: String { Hexadecimal.encode(bytes) }
    var algorithm: DigestAlgorithm? { DigestAlgorithm.allCases.first { $0.storageCode == bytes[20] } }
}

/// Which sessions exist, and that one request at a time works on each.
final class UploadSessions: Sendable {
    private struct State {
        var busy: Set<UploadID> = []
        /// Sessions that were cancelled or finished here: an id alone cannot show that it is over.
        var ended: Set<UploadID> = []
        var endedOrder: [UploadID] = []
    }

    private let secret: [UInt8]
    private let lifetime: Duration
    private let surroundings: Surroundings
    private let state = Mutex(State())

    /// How many ended sessions are remembered.
    private static let maximumEnded = 10_000

    init(secret: [UInt8], lifetime: Duration, _ surroundings: Surroundings) {
        (self.secret, self.lifetime, self.surroundings) = (secret, lifetime, surroundings)
    }

    func make(for repository: RepositoryName, algorithm: DigestAlgorithm) -> UploadID {
        var body = withUnsafeBytes(of: surroundings.now().bigEndian) { Array($0) }
        body += surroundings.randomBytes(12)
        body.append(algorithm.storageCode)
        return UploadID(bytes: body + seal(body, repository))
    }

    /// The id that `text` spells, if we made it for this repository. It is fresh if it is not older than a session may
    /// become without being saved, and has not ended here.
    ///
    /// - Throws: ``RegistryError`` `.blobUploadUnknown`.
    func id(_ text: some StringProtocol, in repository: RepositoryName) throws -> (UploadID, isFresh: Bool) {
        guard let bytes = Hexadecimal.decode(Array(text.utf8)), bytes.count == UploadID.size else { throw Self.unknown }
        let body = Array(bytes.prefix(21))
        let isGenuine = CRYPTO_memcmp(Array(bytes.dropFirst(21)), seal(body, repository), 16) == 0
        let id = UploadID(bytes: bytes)
        guard isGenuine, id.algorithm != nil else { throw Self.unknown }
        let started = body.prefix(8).reduce(Int64(0)) { $0 << 8 | Int64($1) }
        let hasEnded = state.withLock { $0.ended.contains(id) }
        return (id, !hasEnded && surroundings.now() - started < lifetime.components.seconds)
    }

    static let unknown = RegistryError(
        .blobUploadUnknown,
        "There is no such upload session; it ended, expired or never was. Start a new one with POST."
    )

    /// Runs `body` while no other request works on the session.
    ///
    /// - Throws: ``RegistryError`` `.uploadBusy`.
    func exclusively<Result>(_ id: UploadID, _ body: () async throws -> Result) async throws -> Result {
        guard state.withLock({ $0.busy.insert(id).inserted }) else {
            throw RegistryError(
                .uploadBusy,
                "Another request is working on this upload session; try again when it is done."
            )
        }
        defer { state.withLock { _ = $0.busy.remove(id) } }
        return try await body()
    }

    func end(_ id: UploadID) {
        state.withLock { state in
            guard state.ended.insert(id).inserted else { return }
            state.endedOrder.append(id)
            if state.endedOrder.count > 2 * Self.maximumEnded {
                state.ended.subtract(state.endedOrder.prefix(Self.maximumEnded))
                state.endedOrder.removeFirst(Self.maximumEnded)
            }
        }
    }

    private func seal(_ body: [UInt8], _ repository: RepositoryName) -> [UInt8] {
        let message = body + Array(repository.text.utf8)
        var code = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 0
        HMAC(EVP_sha256(), secret, CInt(secret.count), message, message.count, &code, &length)
        return Array(code.prefix(16))
    }
}
