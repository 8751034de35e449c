import Access
import Logging
import NIOCore
import OCI
import RegistryCore
import Synchronization

extension Importer {
    /// Makes sure that the repository holds every blob that a manifest lists, but for those that lie elsewhere by design, as
    /// far as the source does not hold them either.
    func importBlobs(of manifest: Manifest, in repository: RepositoryImport) async throws {
        var seen: Set<Digest> = []
        let blobs = manifest.blobs.filter { seen.insert($0.digest).inserted }
        // One that fails does not stop the others: the next run finds them here.
        let failure = Mutex<(any Error)?>(nil)
        try await forEach(blobs, atMost: workers) { blob in
            do {
                // Over all repositories: whoever needs the blob at the same time waits for it, and mounts it.
                try await blobsInFlight.exclusively(blob.digest) { try await importBlob(blob, in: repository) }
            } catch {
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let error = failure.withLock({ $0 }) { throw error }
    }

    private func importBlob(_ blob: Descriptor, in repository: RepositoryImport) async throws {
        if try await holds(blob.digest, repository) {
            tally.count { $0.blobsPresent += 1 }
        } else if try await registry.mount(blob.digest, from: nil, with: repository.push) {
            tally.count { $0.blobsMounted += 1 }
        } else {
            let isThere = try await downloads.withSlot { try await download(blob, in: repository) }
            tally.count { counts in
                if isThere { counts.blobsCopied += 1 } else { counts.blobsElsewhere += 1 }
                if isThere, blob.isExternal { counts.externalBlobsCopied += 1 }
            }
        }
    }

    private func holds(_ digest: Digest, _ repository: RepositoryImport) async throws -> Bool {
        do {
            _ = try await registry.blobSize(digest, with: repository.pull)
            return true
        } catch let error as RegistryError where error.code == .blobUnknown {
            return false
        }
    }

    /// - Returns: false if it lies elsewhere by design.
    private func download(_ blob: Descriptor, in repository: RepositoryImport) async throws -> Bool {
        let download = BlobDownload(blob, in: repository.source, of: source)
        let id = registry.startUpload(algorithm: blob.digest.algorithm, with: repository.push)
        let chunk = UploadChunk(range: nil, length: blob.size) {
            let piece = try await download.next()
            if let piece { tally.count { $0.bytesCopied += Int64(piece.readableBytes) } }
            return piece
        }
        do {
            try await registry.finishUpload(id.description, as: blob.digest, chunk, with: repository.push)
            return true
        } catch let error as RegistryError {
            throw error  // The session is over with it.
        } catch SourceError.notFound {
            try await cancel(id, in: repository)
            if blob.isExternal { return false }
            throw SourceError.refused("The manifest lists the blob \(blob.digest), which the source does not hold.")
        } catch {
            try await cancel(id, in: repository)
            throw error
        }
    }

    /// What came of a blob is of no use: the next run asks for it from the start.
    private func cancel(_ id: UploadID, in repository: RepositoryImport) async throws {
        do {
            try await registry.cancelUpload(id.description, with: repository.push)
        } catch {
            logger.notice("upload session left to expire", metadata: ["error": "\(error)"])
        }
    }
}
