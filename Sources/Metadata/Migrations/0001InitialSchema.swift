import SQLStore

// The first schema. Two levels: what a repository holds (repo_blob, manifest, tag and the edges between them) and what
// exists at all (blob and where its bytes are). A row exists if and only if what it names is live; there are no state
// columns and no reference counts. Times are milliseconds since 1970, digests one byte for the algorithm and the hash.
extension Migrations {
    static let initialSchema = Migration(version: 1, name: "initial schema", creations: tables)

    private static func tables(_ d: SQLDialect) -> [Query] {
        contentTables(d) + repositoryTables(d) + edgeTables(d) + housekeepingTables(d)
    }

    private static func contentTables(_ d: SQLDialect) -> [Query] {
        [
            Query(
                schema: "CREATE TABLE media_type (id \(d.identity), name \(d.text) NOT NULL UNIQUE) \(d.tableOptions)"
            ),
            Query(
                schema: """
                    CREATE TABLE blob (
                        digest \(d.bytes) PRIMARY KEY CHECK (length(digest) BETWEEN 33 AND 65),
                        size \(d.integer) NOT NULL CHECK (size >= 0),
                        created_at \(d.integer) NOT NULL
                    ) \(d.clusteredTableOptions)
                    """
            ),
            // Where the bytes are: an object under a key that is never used twice, one for each region…
            Query(
                schema: """
                    CREATE TABLE blob_copy (
                        digest \(d.bytes) NOT NULL REFERENCES blob (digest),
                        region \(d.integer) NOT NULL DEFAULT 0,
                        skey \(d.bytes) NOT NULL UNIQUE,
                        PRIMARY KEY (digest, region)
                    ) \(d.clusteredTableOptions)
                    """
            ),
            // …or, for small blobs, here.
            Query(
                schema: """
                    CREATE TABLE blob_inline (
                        digest \(d.bytes) PRIMARY KEY REFERENCES blob (digest),
                        data \(d.bytes) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
        ]
    }

    private static func repositoryTables(_ d: SQLDialect) -> [Query] {
        [
            // Nothing on the push path refers here by a foreign key: it would lock one row for all pushes.
            Query(
                schema: """
                    CREATE TABLE repository (
                        id \(d.identity),
                        name \(d.text) NOT NULL UNIQUE,
                        created_at \(d.integer) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            // A repository's link to a blob. lease_until is our promise to clients that the blob stays.
            Query(
                schema: """
                    CREATE TABLE repo_blob (
                        id \(d.identity),
                        repo_id \(d.integer) NOT NULL,
                        digest \(d.bytes) NOT NULL REFERENCES blob (digest),
                        size \(d.integer) NOT NULL,
                        lease_until \(d.integer) NOT NULL,
                        UNIQUE (repo_id, digest)
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX repo_blob_digest ON repo_blob (digest)",
            Query(
                schema: """
                    CREATE TABLE manifest (
                        id \(d.identity),
                        repo_id \(d.integer) NOT NULL,
                        digest \(d.bytes) NOT NULL CHECK (length(digest) BETWEEN 33 AND 65),
                        media_type_id \(d.integer) NOT NULL REFERENCES media_type (id),
                        artifact_type_id \(d.integer) REFERENCES media_type (id),
                        subject \(d.bytes),
                        created_at \(d.integer) NOT NULL,
                        keep_until \(d.integer) NOT NULL,
                        payload \(d.bytes) NOT NULL,
                        UNIQUE (repo_id, digest)
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX manifest_subject ON manifest (repo_id, subject, digest) WHERE subject IS NOT NULL",
        ]
    }

    private static func edgeTables(_ d: SQLDialect) -> [Query] {
        [
            Query(
                schema: """
                    CREATE TABLE manifest_blob (
                        manifest_id \(d.integer) NOT NULL REFERENCES manifest (id),
                        link_id \(d.integer) NOT NULL REFERENCES repo_blob (id),
                        PRIMARY KEY (manifest_id, link_id)
                    ) \(d.clusteredTableOptions)
                    """
            ),
            "CREATE INDEX manifest_blob_link ON manifest_blob (link_id)",
            // child_id is null where an index lists a manifest that the repository does not hold.
            Query(
                schema: """
                    CREATE TABLE manifest_child (
                        parent_id \(d.integer) NOT NULL REFERENCES manifest (id),
                        position \(d.integer) NOT NULL,
                        repo_id \(d.integer) NOT NULL,
                        child_id \(d.integer) REFERENCES manifest (id),
                        child_digest \(d.bytes) NOT NULL,
                        PRIMARY KEY (parent_id, position)
                    ) \(d.clusteredTableOptions)
                    """
            ),
            "CREATE INDEX manifest_child_child ON manifest_child (child_id)",
            "CREATE INDEX manifest_child_missing ON manifest_child (repo_id, child_digest) WHERE child_id IS NULL",
            Query(
                schema: """
                    CREATE TABLE tag (
                        repo_id \(d.integer) NOT NULL,
                        name \(d.text) NOT NULL,
                        manifest_id \(d.integer) NOT NULL REFERENCES manifest (id),
                        updated_at \(d.integer) NOT NULL,
                        PRIMARY KEY (repo_id, name)
                    ) \(d.clusteredTableOptions)
                    """
            ),
            "CREATE INDEX tag_manifest ON tag (manifest_id)",
        ]
    }

    private static func housekeepingTables(_ d: SQLDialect) -> [Query] {
        [
            // What a collector should look at, and when. Appended in the transaction that released a reference; never
            // unique, because a hint that another one swallowed is a leak. kind: 1 manifest, 2 link (both by ref), 3 blob.
            Query(
                schema: """
                    CREATE TABLE gc_hint (
                        id \(d.identity),
                        kind \(d.integer) NOT NULL,
                        due_at \(d.integer) NOT NULL,
                        ref \(d.integer),
                        digest \(d.bytes)
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX gc_hint_due ON gc_hint (kind, due_at)",
            // Every key that is in no blob_copy. Keys are born here and leave in the transaction that publishes them.
            Query(
                schema: """
                    CREATE TABLE object_trash (
                        skey \(d.bytes) PRIMARY KEY,
                        region \(d.integer) NOT NULL DEFAULT 0,
                        delete_after \(d.integer) NOT NULL,
                        claimed_until \(d.integer),
                        attempts \(d.integer) NOT NULL DEFAULT 0
                    ) \(d.clusteredTableOptions)
                    """
            ),
            "CREATE INDEX object_trash_due ON object_trash (region, delete_after)",
            // An upload between two of its requests: bytes so far in inline_data or in the object skey, and the hash in
            // progress, so that it goes on at its offset without reading them again.
            Query(
                schema: """
                    CREATE TABLE upload_session (
                        id \(d.bytes) PRIMARY KEY,
                        repository \(d.text) NOT NULL,
                        received \(d.integer) NOT NULL,
                        hash_state \(d.bytes) NOT NULL,
                        skey \(d.bytes),
                        inline_data \(d.bytes),
                        expires_at \(d.integer) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX upload_session_expiry ON upload_session (expires_at)",
            Query(
                schema: "CREATE TABLE secret (name \(d.text) PRIMARY KEY, value \(d.bytes) NOT NULL) \(d.tableOptions)"
            ),
        ]
    }
}
