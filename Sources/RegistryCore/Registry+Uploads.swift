package import Access
import BlobStorage
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
        uploads.make(for: grant.repository, algorithm: algorithm)
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
        try await working(on: id, in: grant.repository) { upload in
            let before = upload
            try await receive(chunk, into: &upload, canGoOn: true, in: grant.repository)
            do {
                try await save(&upload, in: grant.repository)
            } catch let error as BlobStorageError {
                try await rollBack(upload, to: before, in: grant.repository)
                throw error
            }
            return upload.received
        }
    }

    /// Takes the last part of a blob, which may be empty, and publishes the blob. May be sent again to any node when it
    /// broke off or its answer was lost, although the session is over then.
    ///
    /// - Throws: ``ChunkOutOfOrder``, ``RegistryError``; the session is over unless the chunk was out of order.
    package func finishUpload(
        _ id: some StringProtocol,
        as digest: Digest,
        _ chunk: UploadChunk,
        with grant: Grant<Push>
    ) async throws {
        // Outside of what may be forgiven: an id that we did not make.
        guard let chunk = try await publishWhole(id, as: digest, chunk, with: grant) else { return }
        do {
            try await working(on: id, in: grant.repository) { upload in
                let bringsNothing = upload.stored == nil && chunk.length == 0
                if bringsNothing, try await holds(digest, grant) { return }
                if upload.received == 0 { upload.restart(with: digest.algorithm) }
                let before = upload
                try await receive(chunk, into: &upload, canGoOn: false, in: grant.repository)
                do {
                    try await publish(&upload, as: digest, in: grant.repository)
                } catch let error as RegistryError {
                    try await end(upload, in: grant.repository)
                    throw error
                } catch let error as BlobStorageError {
                    try await rollBack(upload, to: before, in: grant.repository)
                    throw error
                }
                uploads.end(upload.id)
            }
        } catch let error as RegistryError where [.blobUploadUnknown, .unavailable].contains(error.code) {
            guard try await holds(digest, grant) else { throw error }
        } catch let error as ChunkOutOfOrder where error.received == 0 {
            guard try await holds(digest, grant) else { throw error }
        }
    }

    private func holds(_ digest: Digest, _ grant: Grant<Push>) async throws -> Bool {
        do {
            _ = try await metadata.blob(digest, in: grant.repository, promising: true)
            return true
        } catch let error as RegistryError where error.code == .blobUnknown {
            return false
        }
    }

    /// The whole blob in one request.
    package func pushBlob(_ digest: Digest, _ chunk: UploadChunk, with grant: Grant<Push>) async throws {
        let id = startUpload(algorithm: digest.algorithm, with: grant)
        try await finishUpload(id.description, as: digest, chunk, with: grant)
    }

    /// - Throws: ``RegistryError`` `.blobUploadUnknown`.
    package func cancelUpload(_ id: some StringProtocol, with grant: Grant<Push>) async throws {
        try await working(on: id, in: grant.repository) { upload in
            try await metadata.endUpload(upload.id.bytes, in: grant.repository, from: nil)
            await clear(upload)
        }
    }

    /// Does what a request asks of a session, while no other request at this node does.
    private func working<Result>(
        on text: some StringProtocol,
        in repository: RepositoryName,
        _ body: (inout Upload) async throws -> Result
    ) async throws -> Result {
        let (id, _) = try uploads.id(text, in: repository)
        return try await uploads.exclusively(id) {
            var upload = try await load(text, in: repository)
            do {
                return try await body(&upload)
            } catch let error as BlobStorageError {
                guard case .missing = error else { throw error }
                logger.error("an upload is lost", metadata: ["id": "\(id)", "error": "\(error)"])
                try await end(upload, in: repository)
                throw RegistryError(
                    .unavailable,
                    "The store has lost what was received of this upload; start it again."
                )
            }
        }
    }

    private func load(_ text: some StringProtocol, in repository: RepositoryName) async throws -> Upload {
        let (id, isFresh) = try uploads.id(text, in: repository)
        if let record = try await metadata.upload(id.bytes, in: repository) {
            guard let upload = Upload(id: id, record) else { throw UploadSessions.unknown }
            return upload
        }
        guard isFresh, let algorithm = id.algorithm else { throw UploadSessions.unknown }
        return Upload(id: id, algorithm: algorithm)
    }

    private func save(_ upload: inout Upload, in repository: RepositoryName) async throws {
        try await upload.suspend()
        do {
            try await metadata.save(upload.record(in: repository), after: upload.stored)
        } catch let error as RegistryError where error.code == .blobUploadUnknown {
            await giveUp(upload)
            throw error
        }
        upload.noteStored(upload.received)
        await discard(upload.superseded)
    }

    /// - Parameter canGoOn: whether a client goes on with a request that broke off. A last one it sends again from its
    ///   start, mostly without saying where that is, so the session must stand where it stood.
    private func receive(
        _ chunk: UploadChunk,
        into upload: inout Upload,
        canGoOn: Bool,
        in repository: RepositoryName
    ) async throws {
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
        let length = chunk.length.map { length -> ObjectLength in
            // A client may go on as long as it likes; only its last request says where the blob ends.
            canGoOn ? .atLeast(upload.received + length) : .exactly(upload.received + length)
        }
        do {
            try await slots.withSlot {
                metrics.inFlight.add()
                defer { metrics.inFlight.add(-1) }
                try await upload.append(
                    chunk.body,
                    length: length,
                    batchSize: policy.writeSize,
                    limit: limit,
                    counting: { metrics.uploadedBytes.add($0) },
                    to: blobs,
                    keys,
                    checkpoint: { upload, reached in
                        guard canGoOn else { return false }
                        try await metadata.save(upload.record(in: repository, at: reached), after: upload.stored)
                        return true
                    }
                )
            }
        } catch let error as RegistryError where error.code == .sizeInvalid {
            try await rollBack(upload, to: before, in: repository)
            throw error
        } catch let error as RegistryError where error.code == .blobUploadUnknown {
            await giveUp(upload)
            throw error
        } catch let error as RegistryError {
            // Another request has gone on, perhaps with what this one made: nothing of it is deleted here.
            _ = await upload.writer?.abandon()
            throw error
        } catch let error where !canGoOn || Self.isOfStores(error) {
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

    /// Whether the request may be sent again as it was, which is what the client is told.
    private static func isOfStores(_ error: any Error) -> Bool {
        error is BlobStorageError || MetadataStore.trouble(error) != nil
    }

    /// Forgets a chunk that was refused: the session stands where it stood. Its row goes back first, so that what is
    /// deleted next is nothing that another request would go on with.
    private func rollBack(_ upload: Upload, to before: Upload, in repository: RepositoryName) async throws {
        // The row may have gone on with the chunk's first parts.
        if let stored = upload.stored, stored != before.stored {
            if before.stored == nil {
                try await metadata.resetUpload(upload.id.bytes, from: stored)
            } else {
                try await metadata.save(before.record(in: repository), after: stored)
            }
        }
        await discard(await upload.writer?.abandon() ?? [])
    }

    private func publish(_ upload: inout Upload, as digest: Digest, in repository: RepositoryName) async throws {
        let isHashed = upload.digester.algorithm == digest.algorithm
        if isHashed, upload.digester.finalize() != digest { throw Self.wrong(upload.digester.finalize(), digest) }
        let (location, isCertain) = try await upload.finish(in: blobs, keys)
        if !isHashed || !isCertain {
            let found = try await hash(location, size: upload.received, with: digest.algorithm)
            guard found == digest else { throw Self.wrong(found, digest) }
        }
        let isNew: Bool
        do {
            isNew = try await metadata.commit(
                FinishedUpload(digest, size: upload.received, at: location, session: upload.id.bytes, in: repository)
            )
        } catch let error as RegistryError where error.code == .blobUploadUnknown {
            await giveUp(upload)
            throw error
        }
        metrics.uploads.add(1, isNew ? "stored" : "deduplicated")
        await discard(upload.superseded)
        if !isNew, case .object(let key) = location {
            await delete(claimed: [ObjectProgress(key: StorageKey(bytes: key), offset: 0)])
        }
    }

    private static func wrong(_ found: Digest, _ expected: Digest) -> RegistryError {
        RegistryError(
            .digestInvalid,
            "The content's digest is \(found), not \(expected); nothing was stored.",
            detail: ["expected": "\(expected)", "actual": "\(found)"]
        )
    }

    /// The digest of what is stored, read again because the session was opened for another algorithm, or because another
    /// request may have stored it.
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

    /// Ends a session that cannot be finished.
    ///
    /// - Throws: ``RegistryError`` `.uploadBusy` if another node has gone on with it: then it can.
    private func end(_ upload: Upload, in repository: RepositoryName) async throws {
        let known = [upload.found, upload.stored].compactMap(\.self)
        try await metadata.endUpload(upload.id.bytes, in: repository, from: known)
        await clear(upload)
    }

    /// Deletes what was made for a session that has ended.
    private func clear(_ upload: Upload) async {
        uploads.end(upload.id)
        await giveUp(upload)
    }

    /// Deletes what an upload has made that took longer than its keys were kept. Their deleter may have been there before
    /// the objects were, so nobody else would come for them.
    private func giveUp(_ upload: Upload) async {
        await discard((await upload.writer?.abandon() ?? []) + [upload.saved].compactMap(\.self))
    }

    /// Deletes unpublished objects, but those that another node has published meanwhile.
    private func discard(_ objects: [ObjectProgress]) async {
        do {
            let claimed = Set(try await metadata.claim(objects.flatMap(\.keys)))
            await delete(claimed: objects.filter { claimed.isSuperset(of: $0.keys) })
        } catch {
            logger.notice("unpublished objects are left to the collector", metadata: ["error": "\(error)"])
        }
    }

    /// Their keys are in the trash, so a failure here loses only time: the collector deletes them later.
    private func delete(claimed objects: [ObjectProgress]) async {
        for object in objects {
            do {
                try await blobs.discard(object)
                if blobs.deletesForGood { try await metadata.forget(object.keys) }
            } catch {
                let about: Logger.Metadata = ["key": "\(object.key)", "error": "\(error)"]
                logger.notice("an unpublished object is left to the collector", metadata: about)
            }
        }
    }
}

extension ObjectProgress {
    fileprivate var keys: [[UInt8]] { [key.bytes, tail?.bytes].compactMap(\.self) }
}
