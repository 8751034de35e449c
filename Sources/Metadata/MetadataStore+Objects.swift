package import OCI
import SQLStore

/// A published object.
package struct ObjectRecord: Hashable, Sendable {
    /// The blob whose bytes it holds.
    package let digest: Digest
    /// Its storage key.
    package let key: [UInt8]
    /// Bytes.
    package let size: Int64
}

/// Whom a lost blob hurts.
package struct BlobUser: Hashable, Sendable {
    package let repository: String
    /// A manifest of the repository that lists the blob.
    package let manifest: Digest
}

extension MetadataStore {
    /// The published objects whose keys follow `last`, in the order of keys, at most `limit`.
    ///
    /// - Parameter last: empty to begin.
    package func objects(after last: [UInt8], limit: Int) async throws -> [ObjectRecord] {
        try await database.snapshot { db in
            try db.run(
                """
                SELECT c.digest, c.skey, b.size FROM blob_copy c JOIN blob b ON b.digest = c.digest
                WHERE c.skey > \(last) ORDER BY c.skey LIMIT \(Int64(limit))
                """
            ).map { ObjectRecord(digest: $0.digest(0), key: $0.bytes(1), size: $0.int(2)) }
        }
    }

    /// How many published objects there are.
    package func objectCount() async throws -> Int64 {
        try await database.snapshot { db in try db.run("SELECT count(*) FROM blob_copy").first?.int(0) ?? 0 }
    }

    /// Whether a key is that of a published object.
    package func publishes(key: [UInt8]) async throws -> Bool {
        try await database.read { db in try !db.run("SELECT 1 FROM blob_copy WHERE skey = \(key)").isEmpty }
    }

    /// Some of the manifests that list a blob, at most `limit`: a common layer has millions.
    package func users(of digest: Digest, limit: Int) async throws -> [BlobUser] {
        try await database.read { db in
            try db.run(
                """
                SELECT r.name, m.digest FROM repo_blob l JOIN manifest_blob e ON e.link_id = l.id
                JOIN manifest m ON m.id = e.manifest_id JOIN repository r ON r.id = l.repo_id
                WHERE l.digest = \(digest) LIMIT \(Int64(limit))
                """
            ).map { BlobUser(repository: $0.text(0), manifest: $0.digest(1)) }
        }
    }

    /// Throws unless the database has a schema that this program knows, be it an older one. Changes nothing.
    ///
    /// - Throws: ``SchemaError``; ``SQLError`` if there is no schema at all.
    package func checkSchema() async throws {
        let found = try await database.read { try $0.schemaVersion() }
        let known = Migrations.all.last?.version ?? 0
        guard found <= known else { throw SchemaError.newer(found: found, known: known) }
    }
}
