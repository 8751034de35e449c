package import OCI
import SQLStore

/// Where the bytes of a blob are.
package enum BlobLocation: Hashable, Sendable {
    /// At most ``MetadataStore/maximumInlineSize`` bytes.
    case inline([UInt8])
    /// The storage key of an object.
    case object([UInt8])
}

/// A blob that a repository holds.
package struct BlobRecord: Hashable, Sendable {
    package let digest: Digest
    /// Bytes.
    package let size: Int64
    package let location: BlobLocation
}

extension MetadataStore {
    /// Most bytes of a blob that is kept in the database. Configs and small artifacts, which outnumber layers, then
    /// cost neither a file nor a request to an object store.
    package static let maximumInlineSize = 16 * 1024

    /// Takes `count` new storage keys into the trash, where unpublished keys are.
    package func registerKeys(_ keys: [[UInt8]]) async throws {
        let delay = promises.upload
        try await database.write { db in
            try db.retire(keys, for: delay)
        }
    }

    /// Lets `repository` hold a blob that another one holds.
    ///
    /// - Parameter source: the repository to mount from; nil for any.
    /// - Returns: false if the source does not hold the blob.
    package func mount(_ digest: Digest, from source: RepositoryName?, to repository: RepositoryName) async throws
        -> Bool
    {
        let promises = promises
        return try await database.write { db in
            let found: [SQLRow]
            if let source {
                found = try db.run(
                    """
                    SELECT l.size FROM repo_blob l JOIN repository r ON r.id = l.repo_id
                    WHERE r.name = \(source) AND l.digest = \(digest) \(lock: .keyShare, of: "l")
                    """
                )
            } else {
                found = try db.run(.anyLink(to: digest))
            }
            guard let size = found.first?.int(0) else { return false }
            let link = (repository: try db.makeRepository(repository), digest: digest, size: size)
            try db.link([link], lease: promises.lease)
            return true
        }
    }

    /// - Parameter promising: whether the answer tells a client that it need not upload. The blob then stays for the
    ///   promised window, and its lease is extended where that is not certain yet.
    /// - Throws: ``RegistryError`` `.blobUnknown`.
    package func blob(_ digest: Digest, in repository: RepositoryName, promising: Bool) async throws -> BlobRecord {
        let promises = promises
        let found = try await database.read { db in
            try db.findBlob(digest, in: repository, window: promises.window)
        }
        guard let found else { throw RegistryError.blobUnknown(digest, in: repository) }
        guard promising, !found.isPromised else { return found.record }
        return try await database.write { db in
            guard let again = try db.findBlob(digest, in: repository, window: promises.window) else {
                throw RegistryError.blobUnknown(digest, in: repository)
            }
            try db.run("UPDATE repo_blob SET lease_until = \(db.now + promises.lease) WHERE id = \(again.link)")
            guard db.changes == 1 else { throw RegistryError.blobUnknown(digest, in: repository) }
            try db.hint(.link, [again.link], dueIn: promises.lease)
            return again.record
        }
    }

    /// Removes a repository's link to a blob.
    ///
    /// - Throws: ``RegistryError`` `.blobUnknown`; `.unsupported` while a manifest of the repository lists the blob.
    package func deleteBlob(_ digest: Digest, in repository: RepositoryName) async throws {
        try await database.write { db in
            let links = try db.run(
                """
                SELECT l.id FROM repo_blob l JOIN repository r ON r.id = l.repo_id
                WHERE r.name = \(repository) AND l.digest = \(digest) \(lock: .update, of: "l")
                """
            )
            guard let link = links.first?.int(0) else { throw RegistryError.blobUnknown(digest, in: repository) }
            // A later statement than the lock: it must see what was committed before the lock was had.
            if let manifest = try db.run(.anyManifest(listing: link)).first?.digest(0) {
                throw RegistryError(
                    .unsupported,
                    "The blob is listed by the manifest \(manifest); delete the manifests that list it first.",
                    detail: ["digest": "\(digest)", "manifest": "\(manifest)"]
                )
            }
            try db.run("DELETE FROM repo_blob WHERE id = \(link)")
            try db.hint(blobs: [digest], dueIn: 0)
        }
    }
}

extension RegistryError {
    static func blobUnknown(_ digest: Digest, in repository: RepositoryName) -> RegistryError {
        RegistryError(
            .blobUnknown,
            "The repository \(repository) has no blob \(digest).",
            detail: ["digest": "\(digest)"]
        )
    }
}

extension Query {
    /// link, size, key, inline bytes, whether it is promised until `end`
    static func blob(_ digest: Digest, in repository: RepositoryName, leasedUntil end: Int64) -> Query {
        """
        SELECT l.id, l.size, c.skey, i.data, CASE WHEN l.lease_until > \(end)
            OR EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = l.id) THEN 1 ELSE 0 END
        FROM repository r JOIN repo_blob l ON l.repo_id = r.id
        LEFT JOIN blob_copy c ON c.digest = l.digest
        LEFT JOIN blob_inline i ON i.digest = l.digest
        WHERE r.name = \(repository) AND l.digest = \(digest)
        """
    }

    /// Any repository's link to a blob, locked against collection.
    static func anyLink(to digest: Digest) -> Query {
        "SELECT size FROM repo_blob WHERE digest = \(digest) LIMIT 1 \(lock: .keyShare)"
    }

    static func anyManifest(listing link: Int64) -> Query {
        """
        SELECT m.digest FROM manifest_blob e JOIN manifest m ON m.id = e.manifest_id
        WHERE e.link_id = \(link) LIMIT 1
        """
    }
}

extension SQLTransaction {
    fileprivate func findBlob(
        _ digest: Digest,
        in repository: RepositoryName,
        window: Int64
    ) throws -> (link: Int64, isPromised: Bool, record: BlobRecord)? {
        guard let row = try run(.blob(digest, in: repository, leasedUntil: now + window)).first else { return nil }
        let location: BlobLocation
        if let key = row.optionalBytes(2) {
            location = .object(key)
        } else if let data = row.optionalBytes(3) {
            location = .inline(data)
        } else {
            throw SQLError.failed("the blob \(digest) has no location")
        }
        return (row.int(0), row.int(4) == 1, BlobRecord(digest: digest, size: row.int(1), location: location))
    }
}
