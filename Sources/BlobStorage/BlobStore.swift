package import NIOCore
package import OCI

/// Names an object. Random, made once and never used again: whoever deletes a key can never hit newer content.
package struct StorageKey: Hashable, Sendable, CustomStringConvertible {
    /// 16 bytes.
    package let bytes: [UInt8]

    package static func random() -> StorageKey {
        var generator = SystemRandomNumberGenerator()
        return StorageKey(bytes: (0..<16).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }

    package init(bytes: [UInt8]) { self.bytes = bytes }

    /// Nil unless the text is a ``description``.
    package init?(_ text: some StringProtocol) {
        guard let bytes = Hexadecimal.decode(Array(text.utf8)), bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    package var description: String { Hexadecimal.encode(bytes) }
}

/// Keeps bytes under storage keys. It knows no digests and no repositories: which keys live is the metadata's to say.
package protocol BlobStore: Sendable {
    /// Begins the object of a new key, or goes on with an unpublished one: bytes from `offset` on are dropped.
    ///
    /// - Throws: ``BlobStorageError``; `.missing` if fewer than `offset` bytes are there.
    func makeWriter(for key: StorageKey, at offset: Int64) async throws -> any BlobWriter

    /// - Throws: ``BlobStorageError`` `.missing`.
    func open(_ key: StorageKey) async throws -> ObjectFile

    /// Deletes an object. Deleting one that is not there is no error.
    func delete(_ key: StorageKey) async throws

    /// Every object that there is, published or not, with its size in bytes. For audits: nothing is decided by it.
    func forEachObject(_ body: @escaping @Sendable (StorageKey, Int64) async throws -> Void) async throws

    /// Throws if nothing can be stored now.
    func checkHealth() async throws
}

/// Writes one object, from its first byte to its last. Used by one request at a time.
package protocol BlobWriter: Sendable {
    /// Writes the chunks behind what was written before and hashes them on the way: content is touched once.
    ///
    /// - Returns: the digester after the chunks.
    /// - Throws: ``BlobStorageError``. What was written of the chunks is then dropped by the next ``append(_:hashing:)``.
    func append(_ chunks: [ByteBuffer], hashing digester: Digester) async throws -> Digester

    /// Returns when everything so far survives a power failure.
    func makeDurable() async throws
}

package enum BlobStorageError: Error, Sendable, CustomStringConvertible {
    case missing(StorageKey)
    case full
    case failed(operation: String, errno: Int32)

    package var description: String {
        switch self {
        case .missing(let key): "the object \(key) is missing or shorter than recorded"
        case .full: "the blob storage is full"
        case .failed(let operation, let code): "\(operation) failed: \(errorText(code))"
        }
    }
}
