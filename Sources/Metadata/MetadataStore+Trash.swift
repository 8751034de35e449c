import SQLStore

/// An object that this process, and no other, may delete now.
package struct CondemnedObject: Hashable, Sendable {
    /// Its storage key.
    package let key: [UInt8]
    /// Whether it was ever a blob's. If not, nobody knows how far an upload came with it.
    package let wasPublished: Bool
    /// Bytes; 0 where that is not known.
    package let size: Int64
    /// Proves the claim.
    fileprivate let claim: Int64
}

/// An upload session that has ended, and what is left of it.
package struct AbandonedUpload: Hashable, Sendable {
    /// The keys of its objects, which are the caller's to delete.
    package let keys: [[UInt8]]
    /// The blob store's own notes.
    package let storageState: [UInt8]
}

extension MetadataStore {
    /// Makes objects whose time in the trash is over this process's to delete.
    ///
    /// One that could not be deleted before is claimed for longer each time, and comes again when that is over, behind all that
    /// are due by then. So objects that the store refuses to delete are never all that a deleter is busy with.
    ///
    /// After a failover that took the last moments with it, a blob may be back whose objects had been given to the trash
    /// in them. A deleter therefore pauses for ten minutes when the server's line of history has changed.
    package func claimTrash(limit: Int) async throws -> [CondemnedObject] {
        let epoch = database.dialect.epoch
        return try await database.write { db in
            guard try db.isSettled(epoch) else { return [] }
            let due = try db.run(.dueTrash(before: db.now, limit: limit))
            let byAttempts = Dictionary(grouping: due, by: { $0.int(1) }).sorted { $0.key < $1.key }
            return try byAttempts.flatMap { attempts, rows in
                let claim = db.now + Promises.claim(attempts: attempts)
                return try db.inBatches(rows.map { $0.bytes(0) }) { .claim($0, until: claim, attempts: attempts) }.map {
                    CondemnedObject(key: $0.bytes(0), wasPublished: !$0.isNull(1), size: $0.int(2), claim: claim)
                }
            }
        }
    }

    /// Those of these objects that are still this process's to delete, asked for right before it does so. Never one of a blob,
    /// though none can be: here is the last moment to notice.
    package func confirm(_ objects: [CondemnedObject]) async throws -> [CondemnedObject] {
        let epoch = database.dialect.epoch
        return try await database.write { db in
            guard try db.isSettled(epoch) else { return [] }
            let rows = try db.inBatches(objects.map(\.key)) {
                """
                SELECT skey, claimed_until FROM object_trash t WHERE skey IN \(list: $0)
                AND NOT EXISTS (SELECT 1 FROM blob_copy c WHERE c.skey = t.skey)
                """
            }
            let claims = Dictionary(
                rows.map { ($0.bytes(0), $0.optionalInt(1)) },
                uniquingKeysWith: { first, _ in first }
            )
            // A minute is left for the deletion itself before another process may claim them.
            return objects.filter { claims[$0.key] == $0.claim && $0.claim > db.now + 60_000 }
        }
    }

    /// Ends upload sessions that nobody went on with, and makes their objects this process's to delete.
    package func expireUploads(limit: Int) async throws -> [AbandonedUpload] {
        try await database.write { db in
            let rows = try db.run(
                """
                SELECT id, skey, tail_key, storage_state FROM upload_session WHERE expires_at <= \(db.now)
                ORDER BY expires_at LIMIT \(Int64(limit)) \(lock: .updateUnlessLocked)
                """
            )
            let keys = rows.flatMap { [$0.optionalBytes(1), $0.optionalBytes(2)].compactMap(\.self) }
            let claimed = Set(
                try db.inBatches(keys) {
                    """
                    UPDATE object_trash SET claimed_until = \(db.now + Promises.claim), delete_after = \(db.now)
                    WHERE skey IN \(list: $0) AND claimed_until IS NULL RETURNING skey
                    """
                }.map { $0.bytes(0) }
            )
            try db.inBatches(rows.map { $0.bytes(0) }) { "DELETE FROM upload_session WHERE id IN \(list: $0)" }
            return rows.map { row in
                AbandonedUpload(
                    keys: [row.optionalBytes(1), row.optionalBytes(2)].compactMap(\.self).filter {
                        claimed.contains($0)
                    },
                    storageState: row.optionalBytes(3) ?? []
                )
            }
        }
    }

    /// Takes a key that no row knows into the trash, from where its object goes after the delay.
    ///
    /// - Returns: false if a row knows it after all.
    package func condemn(strayKey key: [UInt8], size: Int64) async throws -> Bool {
        let delay = promises.trash
        return try await database.write { db in
            guard try db.run("SELECT 1 FROM blob_copy WHERE skey = \(key)").isEmpty else { return false }
            try db.run(
                """
                INSERT INTO object_trash (skey, delete_after, size) VALUES (\(key), \(db.now + delay), \(size))
                ON CONFLICT (skey) DO NOTHING
                """
            )
            return db.changes == 1
        }
    }
}

extension Query {
    static func dueTrash(before now: Int64, limit: Int) -> Query {
        """
        SELECT skey, attempts FROM object_trash WHERE region = 0 AND delete_after <= \(now)
        AND (claimed_until IS NULL OR claimed_until < \(now)) ORDER BY delete_after LIMIT \(Int64(limit))
        \(lock: .updateUnlessLocked)
        """
    }

    /// The first time leaves all indexed columns alone, for the sake of those that are then deleted: nearly all.
    fileprivate static func claim(_ keys: [[UInt8]], until claim: Int64, attempts: Int64) -> Query {
        attempts == 0
            ? """
            UPDATE object_trash SET claimed_until = \(claim), attempts = attempts + 1 WHERE skey IN \(list: keys)
            RETURNING skey, digest, size
            """
            : """
            UPDATE object_trash SET claimed_until = \(claim), attempts = attempts + 1, delete_after = \(claim),
                due_since = coalesce(due_since, delete_after)
            WHERE skey IN \(list: keys) RETURNING skey, digest, size
            """
    }
}

extension SQLTransaction {
    /// Whether the server has had the same line of history for long enough, which is written down when it changes.
    fileprivate func isSettled(_ epoch: Query?) throws -> Bool {
        guard let epoch, let current = try run(epoch).first?.text(0) else { return true }
        let known = try run("SELECT epoch, since FROM server_epoch WHERE id = 1").first
        guard let known else {
            try run("INSERT INTO server_epoch (id, epoch, since) VALUES (1, \(current), 0) ON CONFLICT (id) DO NOTHING")
            return true
        }
        if known.text(0) == current { return known.int(1) + Self.settlingTime <= now }
        try run("UPDATE server_epoch SET epoch = \(current), since = \(now) WHERE id = 1")
        return false
    }

    /// Milliseconds.
    private static var settlingTime: Int64 { 10 * 60_000 }
}
