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
    /// Bytes received as the session's row has it; nil while it has no row.
    private(set) var stored: Int64?
    /// The same when this request began.
    let found: Int64?
    private(set) var digester: Digester
    /// Bytes stay here until they are too many for the database; then they move to an object.
    private(set) var inline: [UInt8] = []
    /// The object as far as an earlier request left it.
    private(set) var saved: ObjectProgress?
    private(set) var writer: (any BlobWriter)?
    /// Objects that held bytes which are now elsewhere as well. They may go once ``saved`` has been recorded.
    private(set) var superseded: [ObjectProgress] = []

    init(id: UploadID, algorithm: DigestAlgorithm) {
        self.id = id
        found = nil
        digester = Digester(algorithm)
    }

    /// Nil if the record's hash state is not readable.
    init?(id: UploadID, _ record: UploadRecord) {
        guard let digester = Digester(state: record.hashState) else { return nil }
        self.id = id
        self.digester = digester
        received = record.received
        stored = record.received
        found = record.received
        switch record.location {
        case .inline(let bytes): inline = bytes
        case .object(let key):
            saved = ObjectProgress(
                key: StorageKey(bytes: key),
                tail: record.tail.map { StorageKey(bytes: $0) },
                offset: record.received,
                state: record.storageState
            )
        }
    }

    /// What a later request needs to go on.
    ///
    /// - Parameter checkpoint: how far the object had come a moment ago; nil for all that was received, which is ``saved``.
    func record(in repository: RepositoryName, at checkpoint: Checkpoint? = nil) -> UploadRecord {
        let progress = checkpoint?.progress ?? saved
        return UploadRecord(
            id: id.bytes,
            repository: repository,
            received: progress?.offset ?? received,
            hashState: checkpoint?.hashState ?? digester.state,
            location: progress.map { .object($0.key.bytes) } ?? .inline(inline),
            tail: progress?.tail?.bytes,
            storageState: progress?.state ?? []
        )
    }

    /// The row says now that so many bytes were received.
    mutating func noteStored(_ count: Int64) { stored = count }

    /// Switches to another algorithm; possible while nothing was received.
    mutating func restart(with algorithm: DigestAlgorithm) {
        precondition(received == 0, "what was received is hashed already")
        digester = Digester(algorithm)
    }

    /// Takes a body to its end, in batches: each is hashed and written while the next one arrives from the network.
    ///
    /// - Parameters:
    ///   - length: of the blob, as far as the request says.
    ///   - batchSize: bytes that are hashed and written in one go.
    ///   - limit: most bytes that the whole upload may have.
    ///   - checkpoint: called when more than before would survive a crash; returns whether the row says so now.
    mutating func append(
        _ body: BodyReader,
        length: ObjectLength?,
        batchSize: Int,
        limit: Int64,
        counting count: (Int64) -> Void,
        to blobs: any BlobStore,
        _ keys: KeyPool,
        checkpoint: (Upload, Checkpoint) async throws -> Bool
    ) async throws {
        var batch = UploadBatch()
        while let chunk = try await body() {
            count(Int64(chunk.readableBytes))
            guard received + Int64(batch.size + chunk.readableBytes) <= limit else {
                throw RegistryError(.sizeInvalid, "The blob is larger than this registry accepts (\(limit) bytes).")
            }
            batch.add(chunk)
            guard batch.size >= batchSize else { continue }
            try await write(batch, of: length, to: blobs, keys)
            if let reached = await writer?.takeCheckpoint(), try await checkpoint(self, reached) {
                stored = reached.progress.offset
            }
            batch.removeAll()
        }
        if batch.size > 0 { try await write(batch, of: length, to: blobs, keys) }
    }

    private mutating func write(
        _ batch: UploadBatch,
        of length: ObjectLength?,
        to blobs: any BlobStore,
        _ keys: KeyPool
    ) async throws {
        if saved == nil, writer == nil, inline.count + batch.size <= MetadataStore.maximumInlineSize {
            for chunk in batch.chunks {
                inline.append(contentsOf: chunk.readableBytesView)
                chunk.withUnsafeReadableBytes { digester.update($0) }
            }
            received += Int64(batch.size)
            return
        }
        digester = try await writer(for: blobs, length, keys).append(batch.chunks, hashing: digester)
        received += Int64(batch.size)
    }

    private mutating func writer(for blobs: any BlobStore, _ length: ObjectLength?, _ keys: KeyPool) async throws
        -> any BlobWriter
    {
        if let writer { return writer }
        let opened: any BlobWriter
        if let saved {
            opened = try await blobs.makeWriter(continuing: saved, expecting: length) { try await keys.take() }
        } else {
            opened = try await blobs.makeWriter(expecting: length) { try await keys.take() }
            // Hashed when they arrived; a digester of their own keeps them from being counted twice.
            _ = try await opened.append([ByteBuffer(bytes: inline)], hashing: Digester(digester.algorithm))
            inline = []
        }
        writer = opened
        return opened
    }

    /// Returns when everything that was received is durable and ``saved`` says where.
    mutating func suspend() async throws {
        guard let writer else { return }
        let progress = try await writer.suspend()
        supersede(with: [progress.key, progress.tail])
        saved = progress
        self.writer = nil
    }

    private mutating func supersede(with keys: [StorageKey?]) {
        let left = [saved?.key, saved?.tail].compactMap(\.self).filter { !keys.contains($0) }
        superseded += left.map { ObjectProgress(key: $0, offset: 0) }
    }

    /// Returns when the blob's bytes are whole and durable: where they are, and whether they are certain to be those that
    /// were hashed.
    mutating func finish(in blobs: any BlobStore, _ keys: KeyPool) async throws -> (BlobLocation, isCertain: Bool) {
        if saved == nil, writer == nil { return (.inline(inline), true) }
        // Opened where the upload stands, so that what a refused or interrupted chunk left behind is cut off.
        let object = try await writer(for: blobs, .exactly(received), keys).finish()
        supersede(with: [object.key])
        return (.object(object.key.bytes), object.isCertain)
    }
}
