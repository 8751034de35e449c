package import OCI
import SQLStore

/// Something that must never be so.
package struct Finding: Hashable, Sendable {
    /// A stable word for programs.
    package let kind: String
    /// What it is about: a digest, a key, a name.
    package let subject: String
    package let detail: String

    package init(kind: String, subject: String, detail: String) {
        (self.kind, self.subject, self.detail) = (kind, subject, detail)
    }
}

extension MetadataStore {
    /// The blobs after `last`, in the order of digests, at most `limit`.
    package func blobs(after last: Digest?, limit: Int) async throws -> [BlobRecord] {
        try await database.snapshot { db in
            try db.run(
                """
                SELECT b.digest, b.size, c.skey, i.data FROM blob b
                LEFT JOIN blob_copy c ON c.digest = b.digest LEFT JOIN blob_inline i ON i.digest = b.digest
                WHERE b.digest > \(last?.storageBytes ?? []) ORDER BY b.digest LIMIT \(Int64(limit))
                """
            ).compactMap { row in
                let location =
                    row.optionalBytes(2).map { BlobLocation.object($0) } ?? row.optionalBytes(3).map { .inline($0) }
                return location.map { BlobRecord(digest: row.digest(0), size: row.int(1), location: $0) }
            }
        }
    }

    /// The manifests after the row `last`, at most `limit`, with what the database says of each.
    package func manifests(after last: Int64, limit: Int) async throws -> [(
        id: Int64, manifest: StoredManifest, edges: Edges
    )] {
        try await database.snapshot { db in
            try db.run(
                """
                SELECT m.id, m.digest, y.name, m.payload, m.subject FROM manifest m JOIN media_type y ON y.id = m.media_type_id
                WHERE m.id > \(last) ORDER BY m.id LIMIT \(Int64(limit))
                """
            ).map { row in
                let blobs = try db.run(
                    """
                    SELECT l.digest FROM manifest_blob e JOIN repo_blob l ON l.id = e.link_id
                    WHERE e.manifest_id = \(row.int(0))
                    """
                ).map { $0.digest(0) }
                let children = try db.run(
                    "SELECT child_digest FROM manifest_child WHERE parent_id = \(row.int(0)) ORDER BY position"
                ).map { $0.digest(0) }
                return (
                    row.int(0), StoredManifest(digest: row.digest(1), mediaType: row.text(2), bytes: row.bytes(3)),
                    Edges(blobs: Set(blobs), children: children)
                )
            }
        }
    }

    /// What the database's edges say that a manifest lists.
    package struct Edges: Sendable {
        package let blobs: Set<Digest>
        package let children: [Digest]
    }

    /// How many rows there are to verify.
    package func counts() async throws -> (blobs: Int64, manifests: Int64) {
        try await database.snapshot { db in
            let rows = try db.run("SELECT (SELECT count(*) FROM blob), (SELECT count(*) FROM manifest)")
            return rows.first.map { ($0.int(0), $0.int(1)) } ?? (0, 0)
        }
    }

    /// Whether the database knows a storage key, published or not.
    package func knows(key: [UInt8]) async throws -> Bool {
        try await database.read { db in
            try !db.run(
                "SELECT 1 FROM blob_copy WHERE skey = \(key) UNION ALL SELECT 1 FROM object_trash WHERE skey = \(key)"
            ).isEmpty
        }
    }

    /// Checks every invariant that SQL can see: edge ⇒ link ⇒ blob ⇒ location, and each key in exactly one place.
    /// The foreign keys say most of it already; this also holds for a database that was written without them.
    package func violations() async throws -> [Finding] {
        try await database.snapshot { db in
            try Self.invariants.flatMap { invariant in
                try db.run(invariant.query).map { row in
                    Finding(kind: invariant.kind, subject: row.text(0), detail: invariant.detail)
                }
            }
        }
    }

    /// Lets a collector look at what it would else never look at. Harmless where nothing was forgotten. Goes through the
    /// tables step by step, and writes only what it found: pushes go on meanwhile.
    ///
    /// - Returns: how many links and blobs these are.
    package func hintForgotten() async throws -> Int {
        var found = 0
        var link: Int64? = 0
        while let last = link {
            let page = try await database.read { try $0.forgottenLinks(after: last) }
            link = page.last
            found += page.found.count
            if !page.found.isEmpty { try await database.write { try $0.hint(.link, page.found, dueIn: 0) } }
        }
        var blob: [UInt8]? = []
        while let last = blob {
            let page = try await database.read { try $0.forgottenBlobs(after: last) }
            blob = page.last
            found += page.found.count
            if !page.found.isEmpty { try await database.write { try $0.hint(blobs: page.found, dueIn: 0) } }
        }
        return found
    }

    private struct Invariant: Sendable {
        let kind: String
        let detail: String
        /// Selects the subject of each violation, as text.
        let query: Query
    }

    private static let invariants = [
        Invariant(
            kind: "edge-without-link",
            detail: "a manifest lists a blob that its repository does not hold",
            query: """
                SELECT 'manifest row ' || e.manifest_id FROM manifest_blob e
                LEFT JOIN repo_blob l ON l.id = e.link_id LEFT JOIN manifest m ON m.id = e.manifest_id
                WHERE l.id IS NULL OR m.id IS NULL OR m.repo_id <> l.repo_id
                """
        ),
        Invariant(
            kind: "child-missing",
            detail: "an index names a manifest row that is not there, or has another digest",
            query: """
                SELECT 'manifest row ' || e.parent_id FROM manifest_child e
                LEFT JOIN manifest p ON p.id = e.parent_id LEFT JOIN manifest c ON c.id = e.child_id
                WHERE p.id IS NULL OR (e.child_id IS NOT NULL AND (c.id IS NULL OR c.digest <> e.child_digest))
                """
        ),
        Invariant(
            kind: "tag-without-manifest",
            detail: "a tag names a manifest that its repository does not hold",
            query: """
                SELECT t.name FROM tag t LEFT JOIN manifest m ON m.id = t.manifest_id
                WHERE m.id IS NULL OR m.repo_id <> t.repo_id
                """
        ),
        Invariant(
            kind: "link-without-blob",
            detail: "a repository holds a blob that does not exist, or has another size",
            query: """
                SELECT 'link row ' || l.id FROM repo_blob l LEFT JOIN blob b ON b.digest = l.digest
                WHERE b.digest IS NULL OR b.size <> l.size
                """
        ),
        Invariant(
            kind: "blob-without-location",
            detail: "a blob is neither inline nor an object",
            query: """
                SELECT 'blob of ' || b.size || ' bytes' FROM blob b LEFT JOIN blob_copy c ON c.digest = b.digest
                LEFT JOIN blob_inline i ON i.digest = b.digest WHERE c.digest IS NULL AND i.digest IS NULL
                """
        ),
        Invariant(
            kind: "blob-in-two-places",
            detail: "a blob is inline and an object: the object would never be deleted",
            query: """
                SELECT 'blob of ' || b.size || ' bytes' FROM blob b JOIN blob_copy c ON c.digest = b.digest
                JOIN blob_inline i ON i.digest = b.digest
                """
        ),
        Invariant(
            kind: "location-without-blob",
            detail: "an object or inline bytes belong to a blob that does not exist: nobody would ever delete them",
            query: """
                SELECT 'an object' FROM blob_copy c LEFT JOIN blob b ON b.digest = c.digest WHERE b.digest IS NULL
                UNION ALL
                SELECT 'inline bytes' FROM blob_inline i LEFT JOIN blob b ON b.digest = i.digest WHERE b.digest IS NULL
                """
        ),
        Invariant(
            kind: "key-in-two-places",
            detail: "a published key is also in the trash: its object would be deleted",
            query: """
                SELECT 'trash due ' || t.delete_after FROM object_trash t JOIN blob_copy c ON c.skey = t.skey
                """
        ),
        Invariant(
            kind: "link-forgotten",
            detail: "a repository holds a blob for nobody, and no collector is going to look at it",
            query: """
                SELECT 'link row ' || l.id FROM repo_blob l LEFT JOIN manifest_blob e ON e.link_id = l.id
                LEFT JOIN gc_hint h ON h.kind = \(word: HintKind.link.word) AND h.ref = l.id
                WHERE e.link_id IS NULL AND h.id IS NULL
                """
        ),
        Invariant(
            kind: "blob-forgotten",
            detail: "no repository holds a blob, and no collector is going to look at it",
            query: """
                SELECT 'blob of ' || b.size || ' bytes' FROM blob b LEFT JOIN repo_blob l ON l.digest = b.digest
                LEFT JOIN gc_hint h ON h.kind = \(word: HintKind.blob.word) AND h.digest = b.digest
                WHERE l.id IS NULL AND h.id IS NULL
                """
        ),
        Invariant(
            kind: "session-without-key",
            detail: "an upload session names a key that is not in the trash",
            query: """
                SELECT s.repository FROM upload_session s LEFT JOIN object_trash t ON t.skey = s.skey
                WHERE s.skey IS NOT NULL AND t.skey IS NULL
                UNION ALL
                SELECT s.repository FROM upload_session s LEFT JOIN object_trash t ON t.skey = s.tail_key
                WHERE s.tail_key IS NOT NULL AND t.skey IS NULL
                """
        ),
    ]
}

/// Rows that are looked at in one step of an audit.
private let auditedRows: Int64 = 2000

extension SQLTransaction {
    /// Links that no manifest uses and no hint leads to. A collector that has one of them in hand makes no difference:
    /// it will be looked at once more.
    ///
    /// - Returns: those of the next rows, and the last of the rows; nil if there are no more.
    fileprivate func forgottenLinks(after last: Int64) throws -> (found: [Int64], last: Int64?) {
        let end = try run("SELECT id FROM repo_blob WHERE id > \(last) ORDER BY id LIMIT \(auditedRows)").last?.int(0)
        let unused = try run(
            """
            SELECT l.id FROM repo_blob l LEFT JOIN manifest_blob e ON e.link_id = l.id
            WHERE l.id > \(last) AND l.id <= \(end ?? last) AND e.link_id IS NULL
            """
        ).map { $0.int(0) }
        let hinted = try inBatches(unused) {
            "SELECT ref FROM gc_hint WHERE kind = \(word: HintKind.link.word) AND ref IN \(list: $0)"
        }
        return (Set(unused).subtracting(hinted.map { $0.int(0) }).sorted(), end)
    }

    /// Blobs that no repository has and no hint leads to, in the same way.
    fileprivate func forgottenBlobs(after last: [UInt8]) throws -> (found: [Digest], last: [UInt8]?) {
        let end = try run("SELECT digest FROM blob WHERE digest > \(last) ORDER BY digest LIMIT \(auditedRows)").last?
            .bytes(0)
        let unused = try run(
            """
            SELECT b.digest FROM blob b LEFT JOIN repo_blob l ON l.digest = b.digest
            WHERE b.digest > \(last) AND b.digest <= \(end ?? last) AND l.id IS NULL
            """
        ).map { $0.digest(0) }
        let hinted = try inBatches(unused) {
            "SELECT digest FROM gc_hint WHERE kind = \(word: HintKind.blob.word) AND digest IN \(list: $0)"
        }
        return (Set(unused).subtracting(hinted.map { $0.digest(0) }).sorted(), end)
    }
}
