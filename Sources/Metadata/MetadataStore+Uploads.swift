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
    /// - Throws: ``RegistryError`` `.blobUploadUnknown` if the key was condemned because the upload took too long.
    package func save(_ upload: UploadRecord) async throws {
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
            try db.run(
                """
                INSERT INTO upload_session
                    (id, repository, received, hash_state, skey, inline_data, expires_at, tail_key, storage_state)
                VALUES (\(upload.id), \(upload.repository), \(upload.received), \(upload.hashState), \(optional: key), \(optional: data),
                    \(db.now + lifetime), \(optional: upload.tail), \(upload.storageState))
                ON CONFLICT (id) DO UPDATE SET received = excluded.received, hash_state = excluded.hash_state,
                    skey = excluded.skey, inline_data = excluded.inline_data, expires_at = excluded.expires_at,
                    tail_key = excluded.tail_key, storage_state = excluded.storage_state
                """
            )
        }
    }

    /// Nil if the session was never saved, has ended or has expired.
    package func upload(_ id: [UInt8], in repository: RepositoryName) async throws -> UploadRecord? {
        try await database.read { db in
            let rows = try db.run(
                """
                SELECT received, hash_state, skey, inline_data, tail_key, storage_state FROM upload_session
                WHERE id = \(id) AND repository = \(repository) AND expires_at > \(db.now)
                """
            )
            return rows.first.map { row in
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

    package func deleteUpload(_ id: [UInt8]) async throws {
        try await database.write { db in try db.run("DELETE FROM upload_session WHERE id = \(id)") }
    }
}
