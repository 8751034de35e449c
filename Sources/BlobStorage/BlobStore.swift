package import NIOCore
package import OCI

/// Keeps bytes under storage keys. It knows no digests and no repositories: which keys live is the metadata's to say.
package protocol BlobStore: Sendable {
    /// Begins a new object.
    ///
    /// - Parameters:
    ///   - length: nil if nothing is known of it.
    ///   - keys: gives new keys, of which the metadata knows already that they may have to be deleted.
    /// - Throws: ``BlobStorageError``.
    func makeWriter(expecting length: ObjectLength?, _ keys: @escaping KeySource) async throws -> any BlobWriter

    /// Goes on with an unpublished object where its progress stood; what came after that is dropped.
    ///
    /// - Throws: ``BlobStorageError``; `.missing` if it is not there any more.
    func makeWriter(continuing progress: ObjectProgress, expecting length: ObjectLength?, _ keys: @escaping KeySource)
        async throws -> any BlobWriter

    /// An object of `size` bytes.
    ///
    /// - Throws: ``BlobStorageError`` `.missing` if it is not there or has another size, now or while it is read.
    func open(_ key: StorageKey, size: Int64) async throws -> StoredObject

    /// Bytes of an object, published or not; nil if it is not there. For audits.
    func size(of key: StorageKey) async throws -> Int64?

    /// Deletes an object. Deleting one that is not there is no error.
    func delete(_ key: StorageKey) async throws

    /// Deletes an object of which it is not known how far an upload came with it, with all that was made for it.
    func purge(_ key: StorageKey) async throws

    /// Whether a deleted object of ours can never come back: over a network, a late copy of a request may still make it.
    var deletesForGood: Bool { get }

    /// Gives up an unpublished object, with all that was made for it.
    func discard(_ progress: ObjectProgress) async throws

    /// Every object that there is, published or not. For audits: nothing is decided by it.
    func forEachObject(_ body: @escaping @Sendable (ListedObject) async throws -> Void) async throws

    /// Throws if nothing can be stored now.
    func checkHealth() async throws

    /// Tries everything that a registry does with a store, on keys of its own.
    ///
    /// - Parameters:
    ///   - keys: two, which the metadata knows already.
    ///   - readingURL: whether clients are to be sent to the store.
    func probe(_ keys: [StorageKey], readingURL: Bool) async -> StoreProbe

    /// Lets go of connections; nothing may be asked of it afterwards.
    func close() async throws

    /// Bytes that a request should bring to an upload at least, for the store to work well; 1 for any.
    var preferredChunk: Int { get }
}

extension BlobStore {
    package func purge(_ key: StorageKey) async throws { try await delete(key) }

    /// All bytes of an object that is small enough for memory; nil if it is not there.
    ///
    /// - Parameter key: the bytes of its storage key.
    package func bytes(of key: [UInt8], size: Int64) async throws -> [UInt8]? {
        do {
            let reader = try await open(StorageKey(bytes: key), size: size).reader(0..<size)
            var bytes: [UInt8] = []
            while let chunk = try await reader.next() { bytes.append(contentsOf: chunk.readableBytesView) }
            return bytes
        } catch BlobStorageError.missing {
            return nil
        }
    }

    /// Whether there is an object, published or not. For audits.
    package func exists(_ key: StorageKey) async throws -> Bool { try await size(of: key) != nil }
}

/// What is known of an object's length before all its bytes are there.
package enum ObjectLength: Hashable, Sendable {
    /// Bytes of the whole object: this writer gets the last of them.
    case exactly(Int64)
    /// Bytes up to the last that this writer gets; other writers may go on.
    case atLeast(Int64)

    /// Bytes of the object when this writer has got all that it is going to get.
    package var bytes: Int64 {
        switch self {
        case .exactly(let bytes), .atLeast(let bytes): bytes
        }
    }
}

/// An object as a store's own list shows it.
package struct ListedObject: Hashable, Sendable {
    package let key: StorageKey
    /// Bytes.
    package let size: Int64
    /// When it was last written, in seconds since 1970 by the store's clock.
    package let modifiedAt: Int64
}

/// Gives a new key, which stays in the trash for a while: to be taken right before the first request that writes under it.
package typealias KeySource = @Sendable () async throws -> StorageKey

/// Writes one object, from its first byte to its last. Used by one request at a time.
package protocol BlobWriter: Sendable {
    /// Takes the chunks behind what was taken before and hashes them on the way: content is touched once.
    ///
    /// - Returns: the digester after the chunks.
    /// - Throws: ``BlobStorageError``. What was taken of the chunks is then dropped by the next writer.
    func append(_ chunks: [ByteBuffer], hashing digester: Digester) async throws -> Digester

    /// What would survive a crash of this process now, if that is more than when last asked.
    func takeCheckpoint() async -> Checkpoint?

    /// Makes everything so far durable, so that another writer can go on.
    func suspend() async throws -> ObjectProgress

    /// Makes the object whole and durable, ready to be published.
    func finish() async throws -> FinishedObject

    /// Stops.
    ///
    /// - Returns: everything that this writer made and that is not part of what it went on with, for the caller to
    ///   discard once it is sure that nobody else went on with it.
    func abandon() async -> [ObjectProgress]
}

/// An object that is whole.
package struct FinishedObject: Hashable, Sendable {
    package let key: StorageKey
    /// Whether its bytes are those that its writers took. Else another request may have been the one that finished it, with
    /// an end of its own: to be published, it must be hashed as it is stored.
    package let isCertain: Bool

    package init(key: StorageKey, isCertain: Bool = true) { (self.key, self.isCertain) = (key, isCertain) }
}

/// How far an unpublished object has come.
package struct ObjectProgress: Hashable, Sendable {
    /// What a writer that finished here would publish.
    package let key: StorageKey
    /// Another key with bytes of this object.
    package let tail: StorageKey?
    /// Bytes of the object that are durable.
    package let offset: Int64
    /// The store's own notes.
    package let state: [UInt8]

    package init(key: StorageKey, tail: StorageKey? = nil, offset: Int64, state: [UInt8] = []) {
        (self.key, self.tail, self.offset, self.state) = (key, tail, offset, state)
    }
}

/// Progress and the hash of exactly the bytes up to there (`Digester.state`).
package struct Checkpoint: Sendable {
    package let progress: ObjectProgress
    package let hashState: [UInt8]
}

/// An object that can be read, any part of it, any number of times.
package enum StoredObject: Sendable {
    /// The kernel can send it.
    case file(ObjectFile)
    case remote(RemoteObject)

    /// Reads part of it from front to back.
    package func reader(_ range: Range<Int64>, for audience: ObjectAudience = .ourselves) -> any ObjectReader {
        switch self {
        case .file(let file): FileReader(file: file, rest: range)
        case .remote(let object): object.reader(range, for: audience)
        }
    }
}

/// For whom an object is read, and so how fast.
package enum ObjectAudience: Sendable {
    case ourselves
    /// As slowly as it likes, in which it must be in nobody's way but other clients'.
    case client
}

package protocol ObjectReader: AnyObject {
    /// The next bytes, nil after the last.
    ///
    /// - Throws: ``BlobStorageError``, also if the object is shorter than it should be.
    func next() async throws -> ByteBuffer?

    /// Gives back what the reader holds and others could use, while the next piece is not wanted yet; then it is had again.
    /// Nil if there is no such thing.
    var release: (@Sendable () -> Void)? { get }
}

extension ObjectReader {
    package var release: (@Sendable () -> Void)? { nil }
}

package enum BlobStorageError: Error, Sendable, CustomStringConvertible {
    case missing(StorageKey)
    case full
    /// The store cannot be reached or is overloaded; the same may work in a moment.
    case unavailable(String)
    case failed(operation: String, errno: Int32)
    case refused(String)

    package var description: String {
        switch self {
        case .missing(let key): "the object \(key) is missing or shorter than recorded"
        case .full: "the blob storage is full"
        case .unavailable(let reason): "the blob storage is not available: \(reason)"
        case .failed(let operation, let code): "\(operation) failed: \(errorText(code))"
        case .refused(let reason): "the blob storage refused: \(reason)"
        }
    }
}
