package import OCI
import SQLStore

extension MetadataStore {
    /// Deletes a repository with all that it holds. Its name is free at once; its content goes the way of everything that
    /// nothing refers to, once it can no longer be put back.
    ///
    /// - Returns: until when it can be put back. Milliseconds since 1970.
    /// - Throws: ``RegistryError`` `.nameUnknown`; `.denied` while a hold is on something in it.
    @discardableResult
    package func deleteRepository(_ name: RepositoryName) async throws -> Int64 {
        let window = promises.window
        return try await database.write { db in
            let rows = try db.run("SELECT id, created_at FROM repository WHERE name = \(name) \(lock: .update)")
            guard let row = rows.first else { throw RegistryError.nameUnknown(name) }
            if let hold = try db.holds(in: row.int(0)).first {
                throw RegistryError.held("the repository \(name) cannot be deleted", by: hold)
            }
            try db.run("DELETE FROM repository WHERE id = \(row.int(0))")
            try db.run(
                """
                INSERT INTO deleted_repository (id, name, created_at, deleted_at, restorable_until, purge_at)
                VALUES (\(row.int(0)), \(name), \(row.int(1)), \(db.now), \(db.now + window), \(db.now + window))
                """
            )
            return db.now + window
        }
    }

    /// Puts a deleted repository back with all that it held.
    ///
    /// - Parameter time: when it was deleted, if several of this name were; nil for the last of them.
    /// - Throws: ``RegistryError`` `.nameUnknown` if none of this name can be put back; `.preconditionFailed` if there is
    ///   another one of this name by now.
    package func restoreRepository(_ name: RepositoryName, deletedAt time: Int64? = nil) async throws {
        let givenIdentity = database.dialect.givenIdentity
        try await database.write { db in
            let rows = try db.run(
                """
                SELECT id, created_at, deleted_at FROM deleted_repository
                WHERE name = \(name) AND restorable_until > 0
                AND deleted_at BETWEEN \(time ?? 0) AND \(time ?? .max)
                ORDER BY deleted_at DESC, id DESC LIMIT 1 \(lock: .update)
                """
            )
            guard let row = rows.first else { throw RegistryError.notDeleted(name, time) }
            try db.run(
                """
                INSERT INTO repository (id, name, created_at) \(word: givenIdentity)
                VALUES (\(row.int(0)), \(name), \(row.int(1))) ON CONFLICT DO NOTHING
                """
            )
            guard db.changes == 1 else {
                throw RegistryError(
                    .preconditionFailed,
                    """
                    There is a new repository \(name) by now. Delete it, then put back the one that was deleted at \
                    \(row.int(2)), by that time.
                    """,
                    detail: ["deletedAt": "\(row.int(2))"]
                )
            }
            try db.run("DELETE FROM deleted_repository WHERE id = \(row.int(0))")
        }
    }

    /// Empties one deleted repository a little further.
    ///
    /// Pushes that had begun before the deletion may still commit after it: an empty repository is looked at again for a
    /// day before it is forgotten.
    ///
    /// - Parameter limit: most rows that are deleted.
    package func purgeRepository(limit: Int) async throws -> Collected {
        try await collecting { db in
            let rows = try db.run(
                """
                SELECT id, empty_since, restorable_until FROM deleted_repository WHERE purge_at <= \(db.now) ORDER BY purge_at LIMIT 1
                \(lock: .updateUnlessLocked)
                """
            )
            guard let row = rows.first else { return Collected() }
            let repo = row.int(0)
            if row.int(2) > 0 {
                // Whoever was about to restore it, and waits for the row, must not get half of it.
                try db.run("UPDATE deleted_repository SET restorable_until = 0 WHERE id = \(repo)")
            }
            if let removed = try db.purge(repo, limit: limit) { return removed }
            let emptySince = row.optionalInt(1) ?? db.now
            if emptySince + Self.lateCommits <= db.now {
                try db.run("DELETE FROM deleted_repository WHERE id = \(repo)")
            } else {
                try db.run(
                    """
                    UPDATE deleted_repository SET empty_since = \(emptySince), purge_at = \(db.now + Self.lateCommits / 24)
                    WHERE id = \(repo)
                    """
                )
            }
            return Collected(hints: 1)
        }
    }

    /// For how long something may still be committed to a deleted repository. Milliseconds; far more than any transaction
    /// takes.
    private static let lateCommits: Int64 = 24 * 3_600_000
}

extension RegistryError {
    fileprivate static func notDeleted(_ name: RepositoryName, _ time: Int64?) -> RegistryError {
        let which = time.map { " that was deleted at \($0)" } ?? ""
        return RegistryError(
            .nameUnknown,
            "No repository \(name)\(which) can be put back.",
            detail: ["name": name.text]
        )
    }

    static func nameUnknown(_ name: RepositoryName) -> RegistryError {
        RegistryError(.nameUnknown, "There is no repository \(name).", detail: ["name": name.text])
    }
}

extension SQLTransaction {
    /// Deletes some of a repository's rows; nil if there are none. Tags before manifests, as pushes lock them.
    fileprivate func purge(_ repo: Int64, limit: Int) throws -> Collected? {
        for (table, key) in [("tag", "name"), ("pull_stat", "reference")] as [(StaticString, StaticString)] {
            let keys = try run(
                "SELECT \(word: key) FROM \(word: table) WHERE repo_id = \(repo) ORDER BY \(word: key) LIMIT \(Int64(limit))"
            ).map { $0.text(0) }
            if keys.isEmpty { continue }
            try inBatches(keys) {
                "DELETE FROM \(word: table) WHERE repo_id = \(repo) AND \(word: key) IN \(list: $0)"
            }
            return Collected(hints: keys.count)
        }
        let manifests = try run(
            "SELECT id, length(payload) FROM manifest WHERE repo_id = \(repo) ORDER BY digest LIMIT 1 \(lock: .update)"
        )
        guard let row = manifests.first else {
            try run("DELETE FROM retention_hold WHERE repo_id = \(repo)")
            return nil
        }
        try run("DELETE FROM tag WHERE manifest_id = \(row.int(0))")
        try run("UPDATE manifest_child SET child_id = NULL WHERE child_id = \(row.int(0))")
        // It could be put back for a window, which is what everything in it was promised for.
        try releaseEdges(of: row.int(0), keepingFor: 0, childrenFor: 0)
        try run("DELETE FROM manifest WHERE id = \(row.int(0))")
        return Collected(hints: 1, removed: 1, bytes: row.int(1))
    }
}
