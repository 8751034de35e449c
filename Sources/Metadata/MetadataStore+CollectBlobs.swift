import OCI
import SQLStore

extension MetadataStore {
    /// Removes blobs that no repository holds. The keys of their objects go to the trash in the same transaction; small
    /// blobs are gone with it.
    ///
    /// Locks first, then asks in a later statement, as ``collectLinks(limit:)``: an upload or a mount locks the blob
    /// before it makes a link to it.
    ///
    /// - Parameter limit: most hints that are worked off.
    package func collectBlobs(limit: Int) async throws -> Collected {
        let trash = promises.trash
        return try await collecting(.blob, limit: limit) { db, hints in
            let digests = Set(hints.map { $0.digest(2) }).sorted()
            let locked = try db.inBatches(digests) {
                "SELECT digest FROM blob WHERE digest IN \(list: $0) ORDER BY digest \(lock: .updateUnlessLocked)"
            }.map { $0.digest(0) }
            let free = try db.inBatches(locked) { some in
                """
                SELECT b.digest, b.size FROM blob b WHERE b.digest IN \(list: some)
                AND NOT EXISTS (SELECT 1 FROM repo_blob l WHERE l.digest = b.digest)
                """
            }
            let inline = try db.remove(blobs: free, for: trash)
            try db.hint(blobs: try db.busy(Set(digests).subtracting(locked)), dueIn: Self.busyDelay)
            try db.drop(hints: hints.map { $0.int(0) })
            return Collected(hints: hints.count, removed: free.count, bytes: inline)
        }
    }
}

extension SQLTransaction {
    /// - Parameter blobs: digest and size of each, locked and held by no repository.
    /// - Returns: the bytes that were inline.
    fileprivate func remove(blobs: [SQLRow], for delay: Int64) throws -> Int64 {
        let sizes = Dictionary(blobs.map { ($0.digest(0), $0.int(1)) }, uniquingKeysWith: { first, _ in first })
        let digests = sizes.keys.sorted()
        let copies = try inBatches(digests) {
            "DELETE FROM blob_copy WHERE digest IN \(list: $0) RETURNING digest, skey, region"
        }
        try inBatches(copies) { some in
            """
            INSERT INTO object_trash (skey, region, delete_after, digest, size) VALUES \(rows: some.map {
                [$0.bytes(1).sqlValue, $0.int(2).sqlValue, (now + delay).sqlValue, $0.digest(0).sqlValue,
                (sizes[$0.digest(0)] ?? 0).sqlValue]
            })
            """
        }
        let inline = try inBatches(digests) {
            "DELETE FROM blob_inline WHERE digest IN \(list: $0) RETURNING digest"
        }
        try inBatches(digests) { "DELETE FROM blob WHERE digest IN \(list: $0)" }
        return inline.reduce(0) { $0 + (sizes[$1.digest(0)] ?? 0) }
    }

    /// Those of these blobs that exist: somebody else has locked them.
    fileprivate func busy(_ digests: Set<Digest>) throws -> [Digest] {
        try inBatches(digests.sorted()) { "SELECT digest FROM blob WHERE digest IN \(list: $0)" }.map { $0.digest(0) }
    }
}
