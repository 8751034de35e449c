import SQLStore

/// How far behind the collector is.
package struct CollectionStatus: Hashable, Sendable, Encodable {
    /// For how long the oldest due entry of each queue has waited. Milliseconds; 0 if nothing is due.
    package var lag: [Queue: Int64] = [:]
    /// Objects of deleted blobs that wait in the trash, and their bytes.
    package var pendingObjects: Int64 = 0
    package var pendingBytes: Int64 = 0
    /// For how long the oldest entry of the trash could have been deleted, also if that was tried and is tried again later,
    /// which the lag does not count. Milliseconds; 0 if none is due.
    package var oldestTrash: Int64 = 0

    package enum Queue: String, CaseIterable, Sendable, Encodable, CodingKeyRepresentable {
        case manifests, condemned, links, blobs, sessions, objects, repositories
    }
}

extension MetadataStore {
    /// How far behind each queue is. What is in the trash is not summed up: ``countTrash(in:)``.
    package func collectionStatus() async throws -> CollectionStatus {
        try await database.read { db in
            var status = CollectionStatus()
            func ask(_ queue: CollectionStatus.Queue, _ query: Query) throws {
                let oldest = try db.run(query).first?.optionalInt(0)
                status.lag[queue] = oldest.map { max(0, db.now - $0) } ?? 0
            }
            let kinds: [(CollectionStatus.Queue, HintKind)] = [
                (.manifests, .manifest), (.condemned, .condemned), (.links, .link), (.blobs, .blob),
            ]
            for (queue, kind) in kinds {
                try ask(queue, "SELECT min(due_at) FROM gc_hint WHERE kind = \(word: kind.word)")
            }
            try ask(.sessions, "SELECT min(expires_at) FROM upload_session")
            try ask(.objects, "SELECT min(delete_after) FROM object_trash WHERE region = 0")
            try ask(.repositories, "SELECT min(purge_at) FROM deleted_repository")
            let refused = try db.run("SELECT min(due_since) FROM object_trash WHERE due_since IS NOT NULL").first
            status.oldestTrash = max(status.lag[.objects] ?? 0, db.now - (refused?.optionalInt(0) ?? db.now))
            return status
        }
    }

    /// Sums up what the collector gave to the trash, all of which is read for it: that takes its time where much is to be deleted.
    /// Other keys there are those of uploads that are under way or were broken off.
    package func countTrash(in status: inout CollectionStatus) async throws {
        (status.pendingObjects, status.pendingBytes) = try await database.snapshot { db in
            let row = try db.run(
                """
                SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM object_trash WHERE digest IS NOT NULL
                """
            ).first
            return (row?.int(0) ?? 0, row?.int(1) ?? 0)
        }
    }

    /// How far behind each queue is, and what is in the trash.
    package func countedStatus() async throws -> CollectionStatus {
        var status = try await collectionStatus()
        try await countTrash(in: &status)
        return status
    }

    /// How long the history of retention is kept. Milliseconds; a year.
    static let historyKept: Int64 = 365 * 24 * 3_600_000

    /// Forgets what was kept of deleted manifests and tags whose bytes are gone by now, and old runs of retention.
    package func forgetDeleted(limit: Int) async throws -> Collected {
        let tables: [(StaticString, Int64)] = [
            ("deleted_manifest", promises.memoryOfManifests), ("deleted_tag", promises.memoryOfTags),
        ]
        return try await database.write { db in
            var done = Collected()
            for (table, rest) in tables {
                let end = db.now - rest
                try db.run(
                    """
                    DELETE FROM \(word: table) WHERE id IN (
                        SELECT id FROM \(word: table) WHERE restorable_until <= \(end)
                        ORDER BY restorable_until LIMIT \(Int64(limit)) \(lock: .updateUnlessLocked)
                    )
                    """
                )
                done.hints = max(done.hints, db.changes)
            }
            // The oldest have the least ids.
            try db.run(
                """
                DELETE FROM retention_run WHERE started_at <= \(db.now - Self.historyKept)
                AND id IN (SELECT id FROM retention_run ORDER BY id LIMIT \(Int64(limit)))
                """
            )
            done.hints = max(done.hints, db.changes)
            return done
        }
    }
}
