package import Access
package import BlobStorage
import Metadata
package import OCI
import Telemetry

/// A blob's bytes, ready to be sent.
package enum BlobContent: Sendable {
    case bytes([UInt8])
    case object(StoredObject)
}

extension Registry {
    /// - Returns: bytes of the blob. The client may rely on the blob for the promised window.
    /// - Throws: ``RegistryError`` `.blobUnknown`.
    package func blobSize(_ digest: Digest, with grant: Grant<Pull>) async throws -> Int64 {
        try await metadata.blob(digest, in: grant.repository, promising: true).size
    }

    /// - Throws: ``RegistryError`` `.blobUnknown`.
    package func blob(_ digest: Digest, with grant: Grant<Pull>) async throws -> (size: Int64, content: BlobContent) {
        let record = try await metadata.blob(digest, in: grant.repository, promising: false)
        switch record.location {
        case .inline(let bytes):
            return (record.size, .bytes(bytes))
        case .object(let key):
            return (record.size, .object(try await blobs.open(StorageKey(bytes: key), size: record.size)))
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
