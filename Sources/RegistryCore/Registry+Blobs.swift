package import Access
package import BlobStorage
import Metadata
package import OCI
import Telemetry

/// A blob's bytes, ready to be sent.
package enum BlobContent: Sendable {
    case bytes([UInt8])
    case object(StoredObject)
    /// The client reads them from this URL.
    case elsewhere(url: String)
}

/// Which blobs clients read from the object store itself.
package struct DownloadPolicy: Sendable {
    package let urls: DownloadURLs
    /// Bytes that such a blob has at least.
    package let minimumSize: Int64

    package init(urls: DownloadURLs, minimumSize: Int64) { (self.urls, self.minimumSize) = (urls, minimumSize) }
}

extension Registry {
    /// - Returns: bytes of the blob. The client may rely on the blob for the promised window.
    /// - Throws: ``RegistryError`` `.blobUnknown`.
    package func blobSize(_ digest: Digest, with grant: Grant<Pull>) async throws -> Int64 {
        try await metadata.blob(digest, in: grant.repository, promising: true).size
    }

    /// - Parameter reachesStore: whether the client may be sent to the object store for the bytes.
    /// - Throws: ``RegistryError`` `.blobUnknown`.
    package func blob(_ digest: Digest, reachesStore: Bool, with grant: Grant<Pull>) async throws
        -> (size: Int64, content: BlobContent)
    {
        do {
            return try await locate(digest, reachesStore, grant)
        } catch BlobStorageError.missing {
            // Deleted since its key was looked up; the blob may be there again under another one.
            return try await locate(digest, reachesStore, grant)
        }
    }

    private func locate(_ digest: Digest, _ reachesStore: Bool, _ grant: Grant<Pull>) async throws
        -> (size: Int64, content: BlobContent)
    {
        let record = try await metadata.blob(digest, in: grant.repository, promising: false)
        switch record.location {
        case .inline(let bytes):
            return (record.size, .bytes(bytes))
        case .object(let bytes):
            let key = StorageKey(bytes: bytes)
            guard reachesStore, let downloads, record.size >= downloads.minimumSize else {
                return (record.size, .object(try await blobs.open(key, size: record.size)))
            }
            metrics.redirects.add()
            return (record.size, .elsewhere(url: try await downloads.urls.url(of: key)))
        }
    }

    /// Lets the repository hold a blob that another one holds, without sending it again.
    ///
    /// - Parameter source: proof that the caller may read the repository to mount from; nil for any that it may read.
    /// - Returns: false if that was not possible; the client must upload.
    package func mount(_ digest: Digest, from source: Grant<Pull>?, with grant: Grant<Push>) async throws -> Bool {
        let mounted = try await metadata.mount(digest, from: source?.repository, to: grant.repository)
        metrics.mounts.add(1, mounted ? "mounted" : "session")
        return mounted
    }

    /// A mount that cannot even be tried, because what it names is no digest or no repository.
    package func countUnmountable() { metrics.mounts.add(1, "session") }

    /// - Throws: ``RegistryError`` `.blobUnknown`; `.unsupported` while a manifest of the repository lists the blob.
    package func deleteBlob(_ digest: Digest, with grant: Grant<Delete>) async throws {
        try await metadata.deleteBlob(digest, in: grant.repository)
    }
}
