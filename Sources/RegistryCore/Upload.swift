import BlobStorage
import Metadata
package import NIOCore
import OCI

/// The next bytes of a request's body, nil at its end. Throws if the client goes away.
package typealias BodyReader = () async throws -> ByteBuffer?

/// An upload while one request works on it: bytes so far, where they are and their hash.
struct Upload {
    let id: UploadID
    private(set) var received: Int64 = 0
    private(set) var digester: Digester
    /// Bytes stay here until they are too many for the database; then they move to an object.
    private(set) var inline: [UInt8] = []
    private(set) var key: StorageKey?
    private var writer: (any BlobWriter)?

    /// Bytes that are hashed and written in one go. Larger saves little, and each upload holds as many in memory.
    private static let batchSize = 256 * 1024

    init(id: UploadID, algorithm: DigestAlgorithm) {
        self.id = id
        digester = Digester(algorithm)
    }

    /// Nil if the record's hash state is not readable.
    init?(id: UploadID, _ record: UploadRecord) {
        guard let digester = Digester(state: record.hashState) else { return nil }
        self.id = id
        self.digester = digester
        received = record.received
        switch record.location {
        case .inline(let bytes): inline = bytes
        case .object(let key): self.key = StorageKey(bytes: key)
        }
    }

    func record(in repository: RepositoryName) -> UploadRecord {
        UploadRecord(
            id: id.bytes,
            repository: repository,
            received: received,
            hashState: digester.state,
            location: location
        )
    }

    var location: BlobLocation { key.map { .object($0.bytes) } ?? .inline(inline) }

    /// Switches to another algorithm; possible while nothing was received.
    mutating func restart(with algorithm: DigestAlgorithm) {
        precondition(received == 0, "what was received is hashed already")
        digester = Digester(algorithm)
    }

    /// Takes a body to its end, in batches: each is hashed and written while the next one arrives from the network.
    ///
    /// - Parameter limit: most bytes that the whole upload may have.
    mutating func append(
        _ body: BodyReader,
        limit: Int64,
        counting count: (Int64) -> Void,
        to blobs: any BlobStore,
        _ keys: KeyPool
    ) async throws {
        var batch: [ByteBuffer] = []
        var size = 0
        while let chunk = try await body() {
            count(Int64(chunk.readableBytes))
            guard received + Int64(size + chunk.readableBytes) <= limit else {
                throw RegistryError(.sizeInvalid, "The blob is larger than this registry accepts (\(limit) bytes).")
            }
            batch.append(chunk)
            size += chunk.readableBytes
            guard size >= Self.batchSize else { continue }
            try await write(batch, size, to: blobs, keys)
            batch.removeAll(keepingCapacity: true)
            size = 0
        }
        if size > 0 { try await write(batch, size, to: blobs, keys) }
    }

    private mutating func write(
        _ chunks: [ByteBuffer],
        _ size: Int,
        to blobs: any BlobStore,
        _ keys: KeyPool
    ) async throws {
        if key == nil, inline.count + size <= MetadataStore.maximumInlineSize {
            for chunk in chunks {
                inline.append(contentsOf: chunk.readableBytesView)
                chunk.withUnsafeReadableBytes { digester.update($0) }
            }
            received += Int64(size)
            return
        }
        digester = try await writer(for: blobs, keys).append(chunks, hashing: digester)
        received += Int64(size)
    }

    private mutating func writer(for blobs: any BlobStore, _ keys: KeyPool) async throws -> any BlobWriter {
        if let writer { return writer }
        let opened: any BlobWriter
        if let key {
            opened = try await blobs.makeWriter(for: key, at: received)
        } else {
            let fresh = try await keys.take()
            opened = try await blobs.makeWriter(for: fresh, at: 0)
            // Hashed when they arrived; a digester of their own keeps them from being counted twice.
            _ = try await opened.append([ByteBuffer(bytes: inline)], hashing: Digester(digester.algorithm))
            key = fresh
            inline = []
        }
        writer = opened
        return opened
    }

    /// Returns when the object holds exactly what was received and survives a power failure.
    func makeDurable(in blobs: any BlobStore) async throws {
        guard let key else { return }
        // Opened where the upload stands, so that what a refused or interrupted chunk left behind is cut off.
        let writer = if let writer { writer } else { try await blobs.makeWriter(for: key, at: received) }
        try await writer.makeDurable()
    }
}
