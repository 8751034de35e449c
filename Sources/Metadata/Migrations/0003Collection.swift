import SQLStore

// Collection, retention and what undoes them. What is deleted leaves its table at once, so that a row still exists if and
// only if what it names is live; the deleted_ tables keep what is needed to put it back until its bytes are due.
extension Migrations {
    static let collection = Migration(
        version: 3,
        name: "collection and retention",
        changes: columnsAndIndexes,
        creations: { collectionTables($0) + deletedTables($0) + retentionTables($0) }
    )

    private static func columnsAndIndexes(_ d: SQLDialect) -> [TableChange] {
        [
            // Of a condemned manifest (kind 4): the rule that let go of it, and when. Whoever names it later revives it.
            .column("reason", of: "gc_hint", type: d.text),
            .column("since", of: "gc_hint", type: d.integer),
            .index("gc_hint_condemned", of: "gc_hint", columns: "(ref) WHERE kind = 4"),
            // Whose bytes they were and how many, where that is known: keys that were never published have neither.
            .column("digest", of: "object_trash", type: d.bytes),
            .column("size", of: "object_trash", type: "\(d.integer) NOT NULL DEFAULT 0"),
            .index("object_trash_digest", of: "object_trash", columns: "(digest) WHERE digest IS NOT NULL"),
            // When a rule will delete it if nothing changes, as far as that is known and near; for a warning to clients.
            .column("expires_at", of: "tag", type: d.integer),
        ]
    }

    private static func collectionTables(_ d: SQLDialect) -> [Query] {
        [
            // The line of history of the server that the deleters of objects last spoke to, in one row.
            Query(
                schema: """
                    CREATE TABLE server_epoch (
                        id \(d.integer) PRIMARY KEY CHECK (id = 1),
                        epoch \(d.text) NOT NULL,
                        since \(d.integer) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            // Work that comes back, and that one process does at a time.
            Query(
                schema: """
                    CREATE TABLE job (
                        name \(d.text) PRIMARY KEY,
                        due_at \(d.integer) NOT NULL,
                        claimed_until \(d.integer)
                    ) \(d.tableOptions)
                    """
            ),
        ]
    }

    private static func deletedTables(_ d: SQLDialect) -> [Query] {
        [
            // The id is still that of the repository's content, which is emptied once it cannot be restored any more.
            Query(
                schema: """
                    CREATE TABLE deleted_repository (
                        id \(d.integer) PRIMARY KEY,
                        name \(d.text) NOT NULL,
                        created_at \(d.integer) NOT NULL,
                        deleted_at \(d.integer) NOT NULL,
                        restorable_until \(d.integer) NOT NULL,
                        empty_since \(d.integer),
                        purge_at \(d.integer) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX deleted_repository_name ON deleted_repository (name)",
            "CREATE INDEX deleted_repository_due ON deleted_repository (purge_at)",
            Query(
                schema: """
                    CREATE TABLE deleted_manifest (
                        id \(d.identity),
                        repo_id \(d.integer) NOT NULL,
                        digest \(d.bytes) NOT NULL,
                        media_type_id \(d.integer) NOT NULL REFERENCES media_type (id),
                        subject \(d.bytes),
                        created_at \(d.integer) NOT NULL,
                        deleted_at \(d.integer) NOT NULL,
                        restorable_until \(d.integer) NOT NULL,
                        reason \(d.text) NOT NULL,
                        payload \(d.bytes) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX deleted_manifest_digest ON deleted_manifest (digest, repo_id)",
            "CREATE INDEX deleted_manifest_subject ON deleted_manifest (repo_id, subject) WHERE subject IS NOT NULL",
            "CREATE INDEX deleted_manifest_repo ON deleted_manifest (repo_id, id)",
            "CREATE INDEX deleted_manifest_due ON deleted_manifest (restorable_until)",
            Query(
                schema: """
                    CREATE TABLE deleted_tag (
                        id \(d.identity),
                        repo_id \(d.integer) NOT NULL,
                        name \(d.text) NOT NULL,
                        digest \(d.bytes) NOT NULL,
                        updated_at \(d.integer) NOT NULL,
                        deleted_at \(d.integer) NOT NULL,
                        restorable_until \(d.integer) NOT NULL,
                        reason \(d.text) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX deleted_tag_name ON deleted_tag (repo_id, name)",
            "CREATE INDEX deleted_tag_due ON deleted_tag (restorable_until)",
        ]
    }

    private static func retentionTables(_ d: SQLDialect) -> [Query] {
        [
            // Every version of every policy. scope: '' for the registry, a namespace or a repository; the newest version
            // of a scope holds, and no document means that there is no policy any more.
            Query(
                schema: """
                    CREATE TABLE retention_policy (
                        scope \(d.text) NOT NULL,
                        version \(d.integer) NOT NULL,
                        created_at \(d.integer) NOT NULL,
                        document \(d.text),
                        PRIMARY KEY (scope, version)
                    ) \(d.tableOptions)
                    """
            ),
            // What no rule deletes, whatever else is said. subject: a digest, or a pattern of tags.
            Query(
                schema: """
                    CREATE TABLE retention_hold (
                        id \(d.identity),
                        repo_id \(d.integer) NOT NULL,
                        subject \(d.text) NOT NULL,
                        kind \(d.text) NOT NULL,
                        reason \(d.text) NOT NULL,
                        created_at \(d.integer) NOT NULL,
                        UNIQUE (repo_id, subject, kind)
                    ) \(d.tableOptions)
                    """
            ),
            Query(
                schema: """
                    CREATE TABLE retention_run (
                        id \(d.identity),
                        repository \(d.text) NOT NULL,
                        started_at \(d.integer) NOT NULL,
                        cause \(d.text) NOT NULL,
                        policies \(d.text) NOT NULL,
                        tags \(d.integer) NOT NULL,
                        manifests \(d.integer) NOT NULL,
                        bytes \(d.integer) NOT NULL
                    ) \(d.tableOptions)
                    """
            ),
            "CREATE INDEX retention_run_repository ON retention_run (repository, id)",
            // How often, and when last, a tag or a digest was pulled. reference: as in the URL.
            Query(
                schema: """
                    CREATE TABLE pull_stat (
                        repo_id \(d.integer) NOT NULL,
                        reference \(d.text) NOT NULL,
                        pulls \(d.integer) NOT NULL,
                        last_at \(d.integer) NOT NULL,
                        PRIMARY KEY (repo_id, reference)
                    ) \(d.clusteredTableOptions)
                    """
            ),
        ]
    }
}
