import SQLStore

/// What one round of a collector did.
package struct Collected: Hashable, Sendable {
    /// Due hints that it worked off. As many as it was allowed: there may be more.
    package var hints = 0
    /// Manifests, links, blobs, sessions or objects that are gone.
    package var removed = 0
    /// Bytes that went with them.
    package var bytes: Int64 = 0

    package init(hints: Int = 0, removed: Int = 0, bytes: Int64 = 0) {
        (self.hints, self.removed, self.bytes) = (hints, removed, bytes)
    }

    package static func += (sum: inout Collected, more: Collected) {
        sum.hints += more.hints
        sum.removed += more.removed
        sum.bytes += more.bytes
    }
}

extension MetadataStore {
    /// Lets repositories go of blobs that none of their manifests lists and that were promised to nobody any more.
    ///
    /// Locks first, then asks in a later statement whether anything refers to the link: whoever pushes a manifest has
    /// locked it too, so either the manifest's edge is seen here or the push does not find the link.
    ///
    /// - Parameter limit: most hints that are worked off, which bounds how long the transaction takes.
    package func collectLinks(limit: Int) async throws -> Collected {
        let delay = promises.blobDelay
        return try await collecting(.link, limit: limit) { db, hints in
            let ids = Set(hints.map { $0.int(1) }).sorted()
            let locked = try db.inBatches(ids) {
                """
                SELECT id, lease_until FROM repo_blob WHERE id IN \(list: $0) ORDER BY id \(lock: .updateUnlessLocked)
                """
            }
            let expired = locked.filter { $0.int(1) <= db.now }.map { $0.int(0) }
            let released = try db.inBatches(expired) {
                """
                DELETE FROM repo_blob WHERE id IN \(list: $0)
                AND NOT EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = repo_blob.id) RETURNING digest
                """
            }.map { $0.digest(0) }
            try db.hint(blobs: released, dueIn: delay)
            try db.hint(.link, locked.filter { $0.int(1) > db.now }.map { ($0.int(0), $0.int(1)) })
            try db.hint(.link, try db.busy(Set(ids).subtracting(locked.map { $0.int(0) })), dueIn: Self.busyDelay)
            try db.drop(hints: hints.map { $0.int(0) })
            return Collected(hints: hints.count, removed: released.count)
        }
    }

    /// When a row that somebody else had locked is looked at again. Milliseconds.
    static let busyDelay: Int64 = 5 * 60_000
}

extension SQLTransaction {
    /// Those of these links that exist: they were not locked because somebody else has them.
    fileprivate func busy(_ links: Set<Int64>) throws -> [Int64] {
        try inBatches(links.sorted()) { "SELECT id FROM repo_blob WHERE id IN \(list: $0)" }.map { $0.int(0) }
    }
}
