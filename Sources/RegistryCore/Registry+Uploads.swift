package import Access
import BlobStorage
import FoundationEssentials
import Logging
import Metadata
import NIOCore
package import OCI
import Telemetry

/// What a request brings to an upload session.
package struct UploadChunk {
    /// From `Content-Range`, inclusive; nil if the request has none.
    package let range: ClosedRange<Int64>?
    /// From `Content-Length`; nil if the body is sent in chunks.
    package let length: Int64?
    package let body: BodyReader

    package init(range: ClosedRange<Int64>?, length: Int64?, body: @escaping BodyReader) {
        (self.range, self.length, self.body) = (range, length, body)
    }
}

/// A chunk does not begin where the upload stands. The session goes on at `received`.
package struct ChunkOutOfOrder: Error {
    package let received: Int64
}

extension Registry {
    /// Bytes that a chunk of an upload should have at least, but for the last one.
    package var preferredChunk: Int { blobs.preferredChunk }

    /// Opens a session. Nothing is written: the id says all there is to know until the first byte.
    package func startUpload(algorithm: DigestAlgorithm, with grant: Grant<Push>) -> UploadID {
        uploads.make(for: grant.repository, algorithm: algorithm, now: Self.now)
    }

    /// Bytes received so far.
    ///
    /// - Throws: ``RegistryError`` `.blobUploadUnknown`.
    package func uploadStatus(_ id: some StringProtocol, with grant: Grant<Push>) async throws -> Int64 {
        try await load(id, in: grant.repository).received
    }

    /// Takes the next part of a blob. What was received is durable when this returns, and also, as far as it came, when
    /// the client goes away in the middle.
    ///
    /// - Returns: bytes received so far.
    /// - Throws: ``ChunkOutOfOrder``, ``RegistryError``.
    package func appendUpload(
        _ id: some StringProtocol,
        _ chunk: UploadChunk,
        with grant: Grant<Push>
    ) async throws -> Int64 {
        let (known, _) = try uploads.id(id, in: grant.repository, now: Self.now)
        return try await uploads.exclusively(known) {
            var upload = try await load(id, in: grant.repository)
            try await receive(chunk, into: &upload, in: grant.repository)
            try await save(&upload, in: grant.repository)
            return upload.received
        }
    }

    /// Takes the last part of a blob, which may be empty, and publishes the blob.
    ///
    /// - Throws: ``ChunkOutOfOrder``, ``RegistryError``; the session is over unless the chunk was out of order.
    package func finishUpload(
        _ id: some StringProtocol,
        as digest: Digest,
        _ chunk: UploadChunk,
        with grant: Grant<Push>
    ) async throws {
        let (known, _) = try uploads.id(id, in: grant.repository, now: Self.now)
        try await uploads.exclusively(known) {
            var upload = try await load(id, in: grant.repository)
            if upload.received == 0 { upload.restart(with: digest.algorithm) }
            try await receive(chunk, into: &upload, in: grant.repository)
            do {
                try await publish(&upload, as: digest, in: grant.repository)
            } catch let error as RegistryError {
                uploads.end(known)
                try await discard(upload)
                throw error
            }
            uploads.end(known)
        }
    }

    /// The whole blob in one request.
    package func pushBlob(_ digest: Digest, _ chunk: UploadChunk, with grant: Grant<Push>) async throws {
        let id = startUpload(algorithm: digest.algorithm, with: grant)
        try await finishUpload(id.description, as: digest, chunk, with: grant)
    }

    /// - Throws: ``RegistryError`` `.blobUploadUnknown`.
    package func cancelUpload(_ id: some StringProtocol, with grant: Grant<Push>) async throws {
        let (known, _) = try uploads.id(id, in: grant.repository, now: Self.now)
        try await uploads.exclusively(known) {
            let upload = try await load(id, in: grant.repository)
            uploads.end(known)
            try await discard(upload)
        }
    }

    private static var now: Int64 { Int64(Date().timeIntervalSince1970) }

    private func load(_ text: some StringProtocol, in repository: RepositoryName) async throws -> Upload {
        let (id, isFresh) = try uploads.id(text, in: repository, now: Self.now)
        if let record = try await metadata.upload(id.bytes, in: repository) {
            guard let upload = Upload(id: id, record) else { throw UploadSessions.unknown }
            return upload
        }
        guard isFresh, let algorithm = id.algorithm else { throw UploadSessions.unknown }
        return Upload(id: id, algorithm: algorithm)
    }

    private func save(_ upload: inout Upload, in repository: RepositoryName) async throws {
        try await upload.suspend()
        try await metadata.save(upload.record(in: repository))
        for key in upload.superseded { await abandon(key) }
    }

    private func receive(_ chunk: UploadChunk, into upload: inout Upload, in repository: RepositoryName) async throws {
        let before = upload
        if let range = chunk.range {
            guard range.lowerBound == upload.received else { throw ChunkOutOfOrder(received: upload.received) }
            // regctl closes an upload with an empty body and the range N-N: no range can say "nothing".
            if chunk.length == 0 { return }
            if let length = chunk.length { try Self.check(length, fills: range) }
        }
        let limit = policy.maximumBlobSize ?? .max
        if let length = chunk.length, length > limit - upload.received {
            throw RegistryError(.sizeInvalid, "The blob is larger than this registry accepts (\(limit) bytes).")
        }
        do {
            try await slots.withSlot {
                metrics.inFlight.add()
                defer { metrics.inFlight.add(-1) }
                try await upload.append(
                    chunk.body,
                    length: chunk.length,
                    limit: limit,
                    counting: { metrics.uploadedBytes.add($0) },
                    to: blobs,
                    keys,
                    checkpoint: { try await metadata.save($0.record(in: repository, at: $1)) }
                )
            }
        } catch is RegistryError {
            try await rollBack(upload, to: before, in: repository)
            throw RegistryError(.sizeInvalid, "The blob is larger than this registry accepts (\(limit) bytes).")
        } catch let error as BlobStorageError {
            try await rollBack(upload, to: before, in: repository)
            throw error
        } catch {
            // The client went away: it may come back, ask for the offset and go on.
            if upload.received > before.received { try await save(&upload, in: repository) }
            throw error
        }
        if let range = chunk.range {
            do {
                try Self.check(upload.received - before.received, fills: range)
            } catch {
                try await rollBack(upload, to: before, in: repository)
                throw error
            }
        }
    }

    private static func check(_ length: Int64, fills range: ClosedRange<Int64>) throws {
        guard length == range.upperBound - range.lowerBound + 1 else {
            throw RegistryError(
                .sizeInvalid,
                "Content-Range says \(range.lowerBound)-\(range.upperBound), but the body has \(length) bytes."
            )
        }
    }

    /// Forgets a chunk that was refused: the session stands where it stood.
    private func rollBack(_ upload: Upload, to before: Upload, in repository: RepositoryName) async throws {
        await upload.writer?.abandon()
        // The row may have gone on with the chunk's first parts.
        if try await metadata.upload(upload.id.bytes, in: repository).map({ $0.received > before.received }) == true {
            if before.received > 0 {
                try await metadata.save(before.record(in: repository))
            } else {
                try await metadata.deleteUpload(upload.id.bytes)
            }
        }
    }

    private func publish(_ upload: inout Upload, as digest: Digest, in repository: RepositoryName) async throws {
        let isHashed = upload.digester.algorithm == digest.algorithm
        if isHashed, upload.digester.finalize() != digest { throw Self.wrong(upload.digester.finalize(), digest) }
        let location = try await upload.finish(in: blobs, keys)
        if !isHashed {
            let found = try await hash(location, size: upload.received, with: digest.algorithm)
            guard found == digest else { throw Self.wrong(found, digest) }
        }
        let isNew = try await metadata.commit(
            FinishedUpload(digest, size: upload.received, at: location, session: upload.id.bytes, in: repository)
        )
        metrics.uploads.add(1, isNew ? "stored" : "deduplicated")
        for key in upload.superseded { await abandon(key) }
        if !isNew, case .object(let key) = location { await abandon(StorageKey(bytes: key)) }
    }

    private static func wrong(_ found: Digest, _ expected: Digest) -> RegistryError {
        RegistryError(
            .digestInvalid,
            "The content's digest is \(found), not \(expected); nothing was stored.",
            detail: ["expected": "\(expected)", "actual": "\(found)"]
        )
    }

    /// The digest of what was received, read again because the session was opened for another algorithm.
    private func hash(_ location: BlobLocation, size: Int64, with algorithm: DigestAlgorithm) async throws -> Digest {
        switch location {
        case .inline(let bytes): return Digest(hashing: bytes, with: algorithm)
        case .object(let key):
            var digester = Digester(algorithm)
            let reader = try await blobs.open(StorageKey(bytes: key), size: size).reader(0..<size)
            while let chunk = try await reader.next() { chunk.withUnsafeReadableBytes { digester.update($0) } }
            return digester.finalize()
        }
    }

    private func discard(_ upload: Upload) async throws {
        try await metadata.deleteUpload(upload.id.bytes)
        await upload.writer?.abandon()
        guard let saved = upload.saved else { return }
        await giveUp(saved.key) { try await blobs.discard(saved) }
    }

    /// Deletes an object that nothing names any more.
    private func abandon(_ key: StorageKey) async {
        await giveUp(key) { try await blobs.delete(key) }
    }

    /// The key is in the trash, so a failure here loses only time: the collector deletes it later.
    private func giveUp(_ key: StorageKey, _ delete: () async throws -> Void) async {
        do {
            try await delete()
            if blobs.deletesForGood { try await metadata.forgetKey(key.bytes) }
        } catch {
            logger.notice("unpublished object left to the collector", metadata: ["key": "\(key)", "error": "\(error)"])
        }
    }
}
