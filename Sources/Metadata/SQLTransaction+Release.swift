import OCI
import SQLStore

// What every way to delete something has in common: it is written down so that it can be put back, and what it referred to
// is released with a hint in the same transaction.
extension SQLTransaction {
    /// Writes down tags that are gone.
    ///
    /// - Parameters:
    ///   - tags: repository, name and time of the last push of each.
    ///   - window: how long they can be put back for certain.
    func remember(_ tags: [SQLRow], of digest: Digest, keepingFor window: Int64, reason: String) throws {
        // In the order in which pulls are written down.
        for tag in tags.sorted(by: { ($0.int(0), $0.text(1)) < ($1.int(0), $1.text(1)) }) {
            try forgetPulls(of: tag.text(1), in: tag.int(0))
        }
        try startInBatches(tags) { some in
            """
            INSERT INTO deleted_tag (repo_id, name, digest, updated_at, deleted_at, restorable_until, reason)
            VALUES \(rows: some.map {
                [$0.int(0).sqlValue, $0.text(1).sqlValue, digest.sqlValue, $0.int(2).sqlValue, now.sqlValue,
                (now + window).sqlValue, reason.sqlValue]
            })
            """
        }
    }

    /// Deletes a locked manifest that no tag and no index names.
    ///
    /// - Parameters:
    ///   - window: how long its blobs stay.
    ///   - childrenFor: the same for the manifests that it lists.
    func forget(manifest id: Int64, keepingFor window: Int64, childrenFor: Int64, reason: String) throws {
        try run(
            """
            INSERT INTO deleted_manifest
                (repo_id, digest, media_type_id, subject, created_at, deleted_at, restorable_until, reason, payload)
            SELECT repo_id, digest, media_type_id, subject, created_at, \(now), \(now + window), \(reason), payload
            FROM manifest WHERE id = \(id)
            """
        )
        try releaseEdges(of: id, keepingFor: window, childrenFor: childrenFor)
        let gone = try run("DELETE FROM manifest WHERE id = \(id) RETURNING repo_id, digest")
        for row in gone { try forgetPulls(of: "\(row.digest(1))", in: row.int(0)) }
    }

    /// A tag or an index let go of a manifest, or nothing names it yet: it stays for the window, then a collector looks.
    func release(manifest id: Int64, keepingFor window: Int64) throws {
        try release(locked: [id], keepingFor: window)
    }

    private func release(manifests ids: [Int64], keepingFor window: Int64) throws {
        let locked = try inBatches(ids) {
            "SELECT id FROM manifest WHERE id IN \(list: $0) ORDER BY id \(lock: .noKeyUpdate)"
        }
        try release(locked: locked.map { $0.int(0) }, keepingFor: window)
    }

    private func release(locked ids: [Int64], keepingFor window: Int64) throws {
        try startInBatches(ids) {
            "UPDATE manifest SET keep_until = \(now + window) WHERE id IN \(list: $0) AND keep_until < \(now + window)"
        }
        try hint(.manifest, ids, dueIn: window)
    }

    /// The manifests that an index lists, in the order of their ids: also one that was pushed at the same moment as the index,
    /// which then does not know its row.
    func children(of id: Int64) throws -> [Int64] {
        try run(
            """
            SELECT DISTINCT m.id FROM manifest_child c JOIN manifest m ON m.repo_id = c.repo_id AND m.digest = c.child_digest
            WHERE c.parent_id = \(id) ORDER BY m.id
            """
        ).map { $0.int(0) }
    }

    /// A client lets go of a manifest and so of those that are about it: they stay for the window, then a collector looks. A
    /// sentence from before the manifest came must not take them now.
    func release(referrersOf id: Int64, keepingFor window: Int64) throws {
        let referrers = try run(
            """
            SELECT a.id FROM manifest a JOIN manifest m ON m.repo_id = a.repo_id AND m.digest = a.subject
            WHERE m.id = \(id) ORDER BY a.id \(lock: .noKeyUpdate, of: "a")
            """
        ).map { $0.int(0) }
        try release(locked: referrers, keepingFor: window)
        try revive(referrers)
    }

    /// A manifest lets go of its blobs and children, each kept for its time, with a hint for each.
    func releaseEdges(of id: Int64, keepingFor window: Int64, childrenFor: Int64) throws {
        // In the order in which uploads link them, so that neither those nor deletions that share layers wait for each other.
        let links = try run(
            """
            SELECT id FROM repo_blob WHERE id IN (SELECT link_id FROM manifest_blob WHERE manifest_id = \(id))
            ORDER BY digest \(lock: .noKeyUpdate)
            """
        ).map { $0.int(0) }
        try startInBatches(links) {
            """
            UPDATE repo_blob SET lease_until = \(now + window) WHERE id IN \(list: $0) AND lease_until < \(now + window)
            """
        }
        try hint(.link, links, dueIn: window)
        try release(manifests: children(of: id), keepingFor: childrenFor)
        try start("DELETE FROM manifest_blob WHERE manifest_id = \(id)")
        try start("DELETE FROM manifest_child WHERE parent_id = \(id)")
    }
}

extension StaticString {
    /// For a manifest `m` with a subject. A subject keeps what is about it, but not an index that lists the subject: these
    /// two would keep each other for ever.
    static let isNotPartOfM: StaticString =
        "NOT EXISTS (SELECT 1 FROM manifest_child p WHERE p.parent_id = m.id AND p.child_digest = m.subject)"
}
