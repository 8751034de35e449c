package import OCI
import SQLStore

/// An upload between two of its requests.
package struct UploadRecord: Hashable, Sendable {
    package let id: [UInt8]
    package let repository: RepositoryName
    /// Bytes received so far.
    package let received: Int64
    /// The hash of them in progress (`Digester.state`).
    package let hashState: [UInt8]
    /// Where they are; ``BlobLocation/inline(_:)`` while they are few.
    package let location: BlobLocation
    /// Another key with bytes of the upload.
    package let tail: [UInt8]?
    /// The blob store's own notes.
    package let storageState: [UInt8]

    package init(
        id: [UInt8],
        repository: RepositoryName,
        received: Int64,
        hashState: [UInt8],
        location: BlobLocation,
        tail: [UInt8]? = nil,
        storageState: [UInt8] = []
    ) {
        (self.id, self.repository, self.received) = (id, repository, received)
        (self.hashState, self.location) = (hashState, location)
        (self.tail, self.storageState) = (tail, storageState)
    }
}

extension MetadataStore {
    /// Keeps an upload for later requests, whose bytes so far are durable. Its key stays with it.
    ///
    /// - Parameter previous: bytes received as the caller last saw or saved them; nil if there was nothing yet. A client
    ///   may have given up a request that still runs, and have gone on at another node: what that one saved stays.
    /// - Throws: ``RegistryError`` `.uploadBusy` if the session has changed since; `.blobUploadUnknown` if the key was
    ///   condemned because the upload took too long.
    package func save(_ upload: UploadRecord, after previous: Int64?) async throws {
        let lifetime = promises.upload
        try await database.write { db in
            let key: [UInt8]?
            let data: [UInt8]?
            switch upload.location {
            case .inline(let bytes): (key, data) = (nil, bytes)
            case .object(let bytes): (key, data) = (bytes, nil)
            }
            let keys = [key, upload.tail].compactMap(\.self)
            if !keys.isEmpty {
                try db.run(
                    """
                    UPDATE object_trash SET delete_after = \(db.now + 2 * lifetime)
                    WHERE skey IN \(list: keys) AND claimed_until IS NULL
                    """
                )
                guard db.changes == keys.count else {
                    throw RegistryError(
                        .blobUploadUnknown,
                        "The upload took too long and was given up; start it again."
                    )
                }
            }
            if let previous {
                try db.run(
                    """
                    UPDATE upload_session SET received = \(upload.received), hash_state = \(upload.hashState),
                        skey = \(optional: key), inline_data = \(optional: data), expires_at = \(db.now + lifetime),
                        tail_key = \(optional: upload.tail), storage_state = \(upload.storageState)
                    WHERE id = \(upload.id) AND received = \(previous)
                    """
                )
            } else {
                try db.run(
                    """
                    INSERT INTO upload_session
                        (id, repository, received, hash_state, skey, inline_data, expires_at, tail_key, storage_state)
                    VALUES (\(upload.id), \(upload.repository), \(upload.received), \(upload.hashState), \(optional: key),
                        \(optional: data), \(db.now + lifetime), \(optional: upload.tail), \(upload.storageState))
                    ON CONFLICT (id) DO NOTHING
                    """
                )
            }
            guard db.changes == 1 else { throw Self.overtaken }
        }
    }

    private static let overtaken = RegistryError(
        .uploadBusy,
        "Another request has gone on with this upload session meanwhile; ask where it stands."
    )

    /// What `received` is of a session that has ended although it was not finished. An id alone does not show it.
    private static let ended: Int64 = -1

    /// Nil if the session was never saved, was finished or has expired.
    ///
    /// - Throws: ``RegistryError`` `.blobUploadUnknown` if it was ended.
    package func upload(_ id: [UInt8], in repository: RepositoryName) async throws -> UploadRecord? {
        try await database.read { db in
            let rows = try db.run(
                """
                SELECT received, hash_state, skey, inline_data, tail_key, storage_state FROM upload_session
                WHERE id = \(id) AND repository = \(repository) AND expires_at > \(db.now)
                """
            )
            return try rows.first.map { row in
                guard row.int(0) != Self.ended else {
                    throw RegistryError(.blobUploadUnknown, "The upload session was ended; start a new one with POST.")
                }
                let location =
                    row.optionalBytes(2).map { BlobLocation.object($0) } ?? .inline(row.optionalBytes(3) ?? [])
                return UploadRecord(
                    id: id,
                    repository: repository,
                    received: row.int(0),
                    hashState: row.bytes(1),
                    location: location,
                    tail: row.optionalBytes(4),
                    storageState: row.optionalBytes(5) ?? []
                )
            }
        }
    }

    /// Forgets what was received, all of it, if that is still `received` bytes. The session may begin again.
    ///
    /// - Throws: ``RegistryError`` `.uploadBusy` if it is not.
    package func resetUpload(_ id: [UInt8], from received: Int64) async throws {
        try await database.write { db in
            try db.run("DELETE FROM upload_session WHERE id = \(id) AND received = \(received)")
            guard db.changes == 1 else { throw Self.overtaken }
        }
    }

    /// Ends a session that is not going to be finished, on all nodes.
    ///
    /// - Parameter received: ends it only while it stands at one of these; nil for wherever it stands.
    /// - Throws: ``RegistryError`` `.uploadBusy` if it stands elsewhere.
    package func endUpload(_ id: [UInt8], in repository: RepositoryName, from received: [Int64]?) async throws {
        let lifetime = promises.upload
        let isAnywhere: Int64 = received == nil ? 1 : 0
        let places = received ?? []
        try await database.write { db in
            try db.run(
                """
                INSERT INTO upload_session (id, repository, received, hash_state, expires_at)
                VALUES (\(id), \(repository), \(Self.ended), \([UInt8]()), \(db.now + lifetime))
                ON CONFLICT (id) DO UPDATE SET received = excluded.received, hash_state = excluded.hash_state,
                    skey = NULL, inline_data = NULL, tail_key = NULL, storage_state = NULL,
                    expires_at = excluded.expires_at
                WHERE \(isAnywhere) = 1 OR upload_session.received IN \(list: places)
                """
            )
            guard db.changes == 1 else { throw Self.overtaken }
        }
    }

    /// Makes unpublished keys ours to delete: from now on nobody can publish them or go on with them.
    ///
    /// Also those that a collector has claimed or deleted, because the upload took longer than they were kept: it may have
    /// been there before the object was, and would not come again. Such a key is taken into the trash again first, so
    /// that a crash leaves it to the collector.
    ///
    /// - Returns: those keys of which that is so. Others were published.
    package func claim(_ keys: [[UInt8]]) async throws -> [[UInt8]] {
        guard !keys.isEmpty else { return [] }
        let delay = promises.trash
        return try await database.write { db in
            let end = db.now + Promises.claim
            // This waits for whoever publishes one of them. One that it does not find is nobody's to publish any more.
            var claimed = try db.inBatches(keys) {
                """
                UPDATE object_trash SET claimed_until = \(end) WHERE skey IN \(list: $0) AND digest IS NULL
                RETURNING skey
                """
            }.map { $0.bytes(0) }
            let others = Set(keys).subtracting(claimed)
            guard !others.isEmpty else { return claimed }
            let published = try db.inBatches(Array(others)) { "SELECT skey FROM blob_copy WHERE skey IN \(list: $0)" }
            let forgotten = others.subtracting(published.map { $0.bytes(0) })
            claimed += try db.inBatches(forgotten.sorted { $0.lexicographicallyPrecedes($1) }) { some in
                """
                INSERT INTO object_trash (skey, claimed_until, delete_after)
                VALUES \(rows: some.map { [$0.sqlValue, end.sqlValue, (db.now + delay).sqlValue] })
                ON CONFLICT (skey) DO NOTHING RETURNING skey
                """
            }.map { $0.bytes(0) }
            return claimed
        }
    }

    /// Forgets claimed keys, whose objects are gone.
    package func forget(_ keys: [[UInt8]]) async throws {
        guard !keys.isEmpty else { return }
        try await database.write { db in
            try db.inBatches(keys) {
                "DELETE FROM object_trash WHERE skey IN \(list: $0) AND claimed_until IS NOT NULL"
            }
        }
    }
}
