package import OCI
import SQLStore

/// An upload whose bytes are durable and whose digest was checked.
package struct FinishedUpload: Sendable {
    package let digest: Digest
    /// Bytes.
    package let size: Int64
    package let location: BlobLocation
    /// The row of its session, if it ever had one.
    package let session: [UInt8]?
    /// Whether the session must not have a row: one request brought all bytes, and did not ask where it stands.
    package let isWhole: Bool
    package let repository: RepositoryName

    package init(
        _ digest: Digest,
        size: Int64,
        at location: BlobLocation,
        session: [UInt8]?,
        isWhole: Bool = false,
        in repository: RepositoryName
    ) {
        (self.digest, self.size, self.location) = (digest, size, location)
        (self.session, self.isWhole, self.repository) = (session, isWhole, repository)
    }

    fileprivate var key: [UInt8]? {
        if case .object(let key) = location { key } else { nil }
    }
}

/// The session of an upload that was said to be whole has a row.
package struct UploadHasBegun: Error {}

extension MetadataStore {
    /// Publishes an upload: the blob exists and the repository holds it. Uploads at the same time share a transaction.
    ///
    /// - Returns: whether the bytes were new. If not, an object's key is in the trash, claimed for the caller to delete.
    /// - Throws: ``RegistryError`` `.blobUploadUnknown` if the key was condemned because the upload took too long;
    ///   ``UploadHasBegun``.
    package func commit(_ upload: FinishedUpload) async throws -> Bool { try await uploads.submit(upload) }

    static func makeUploadBatcher(
        _ database: any SQLDatabase,
        _ promises: Promises,
        _ committed: @escaping @Sendable (Int) -> Void
    ) -> UploadBatcher {
        UploadBatcher(patience: database.dialect.patience) { uploads in
            let outcomes = try await database.write { db in try db.commit(uploads, promises) }
            committed(uploads.count)
            return outcomes
        }
    }
}

typealias UploadBatcher = Batcher<FinishedUpload, Bool>

extension SQLTransaction {
    /// Everywhere in the order of names and digests, so that two batches with the same blobs cannot wait for each other.
    fileprivate func commit(_ uploads: [FinishedUpload], _ promises: Promises) throws -> [Result<Bool, any Error>] {
        let sessions = try startInBatches(uploads.filter(\.isWhole).compactMap(\.session)) {
            "SELECT id FROM upload_session WHERE id IN \(list: $0)"
        }
        try startInBatches(uploads.filter { !$0.isWhole }.compactMap(\.session)) {
            "DELETE FROM upload_session WHERE id IN \(list: $0)"
        }
        let taken = Set(
            try inBatches(uploads.compactMap(\.key)) {
                "DELETE FROM object_trash WHERE skey IN \(list: $0) AND claimed_until IS NULL RETURNING skey"
            }.map { $0.bytes(0) }
        )
        let known = try repositoryIDs(Set(uploads.map(\.repository)).sorted { $0.text < $1.text })
        let begun = Set(try sessions.flatMap { try rows(of: $0) }.map { $0.bytes(0) })
        let refusal = { (upload: FinishedUpload) -> (any Error)? in
            if upload.isWhole, let id = upload.session, begun.contains(id) { return UploadHasBegun() }
            guard let key = upload.key, !taken.contains(key) else { return nil }
            return RegistryError(.blobUploadUnknown, "The upload took too long and was given up; start it again.")
        }
        let valid = uploads.filter { refusal($0) == nil }
        let digests = Set(valid.map(\.digest)).sorted()
        let sizes = Dictionary(valid.map { ($0.digest, $0.size) }, uniquingKeysWith: { first, _ in first })
        let repositories = try makeRepositories(Set(valid.map(\.repository)), known: known)
        let located = try makeBlobs(digests, sizes)
        let publishing = try publish(digests.filter { !located.contains($0) }, valid)
        try link(valid, in: repositories, sizes, promises)
        // What was published: keys of objects, and digests that inline bytes stand for.
        var fresh = Set(try publishing.flatMap { try rows(of: $0) }.map { $0.bytes(0) })
        let unused = valid.compactMap(\.key).filter { !fresh.contains($0) }
        try retire(unused, for: promises.trash, claimedFor: Promises.claim)
        return uploads.map { upload in
            if let error = refusal(upload) { return .failure(error) }
            return .success(fresh.remove(upload.key ?? upload.digest.storageBytes) != nil)
        }
    }

    /// Makes the blobs exist and stay until the transaction ends.
    ///
    /// - Returns: those that have bytes already.
    private func makeBlobs(_ digests: [Digest], _ sizes: [Digest: Int64]) throws -> Set<Digest> {
        try startInBatches(digests) { some in
            """
            INSERT INTO blob (digest, size, created_at)
            VALUES \(rows: some.map { [$0.sqlValue, (sizes[$0] ?? 0).sqlValue, now.sqlValue] })
            ON CONFLICT (digest) DO NOTHING
            """
        }
        // A conflict locks nothing: the row that was there may be gone when it is looked at.
        let locked = try startInBatches(digests) {
            "SELECT digest FROM blob WHERE digest IN \(list: $0) ORDER BY digest \(lock: .keyShare)"
        }
        let located = try inBatches(digests) {
            """
            SELECT digest FROM blob_copy WHERE digest IN \(list: $0)
            UNION ALL SELECT digest FROM blob_inline WHERE digest IN \(list: $0)
            """
        }
        guard try locked.reduce(0, { try $0 + rows(of: $1).count }) == digests.count else { throw SQLError.conflict }
        return Set(located.map { $0.digest(0) })
    }

    /// Gives each blob that has no bytes yet those of the first upload of it.
    ///
    /// - Returns: the keys that were published, and the digests of the blobs that are new inline.
    private func publish(_ digests: [Digest], _ uploads: [FinishedUpload]) throws -> [StartedQuery] {
        let first = Dictionary(uploads.map { ($0.digest, $0.location) }, uniquingKeysWith: { first, _ in first })
        var copies: [[SQLValue]] = []
        var inline: [[SQLValue]] = []
        for digest in digests {
            switch first[digest] {
            case .object(let key): copies.append([digest.sqlValue, key.sqlValue])
            case .inline(let data): inline.append([digest.sqlValue, data.sqlValue])
            case nil: break
            }
        }
        let keys = try startInBatches(copies) {
            """
            INSERT INTO blob_copy (digest, skey) VALUES \(rows: $0)
            ON CONFLICT (digest, region) DO NOTHING RETURNING skey
            """
        }
        let data = try startInBatches(inline) {
            "INSERT INTO blob_inline (digest, data) VALUES \(rows: $0) ON CONFLICT (digest) DO NOTHING RETURNING digest"
        }
        return keys + data
    }

    /// Lets repositories hold blobs for at least the lease.
    private func link(
        _ uploads: [FinishedUpload],
        in repositories: [RepositoryName: Int64],
        _ sizes: [Digest: Int64],
        _ promises: Promises
    ) throws {
        var seen: Set<[SQLValue]> = []
        let pairs = uploads.compactMap { upload in repositories[upload.repository].map { ($0, upload.digest) } }
            .sorted { ($0.0, $0.1) < ($1.0, $1.1) }
            .filter { seen.insert([$0.0.sqlValue, $0.1.sqlValue]).inserted }
        try link(pairs.map { (repository: $0.0, digest: $0.1, size: sizes[$0.1] ?? 0) }, lease: promises.lease)
    }
}

extension SQLTransaction {
    /// Keys that nothing names: their objects go after the delay.
    ///
    /// - Parameter claim: for how long they are the caller's to delete, if it wants to do so at once.
    func retire(_ keys: [[UInt8]], for delay: Int64, claimedFor claim: Int64? = nil) throws {
        let claimed = claim.map { (now + $0).sqlValue } ?? .null(.integer)
        try startInBatches(keys) { some in
            """
            INSERT INTO object_trash (skey, delete_after, claimed_until)
            VALUES \(rows: some.map { [$0.sqlValue, (now + delay).sqlValue, claimed] })
            """
        }
    }

    /// Lets repositories hold blobs for at least the lease. Pairs are distinct and in order.
    func link(_ links: [(repository: Int64, digest: Digest, size: Int64)], lease: Int64) throws {
        let ids = try inBatches(links) { some in
            """
            INSERT INTO repo_blob (repo_id, digest, size, lease_until) VALUES \(rows: some.map {
                [$0.repository.sqlValue, $0.digest.sqlValue, $0.size.sqlValue, (now + lease).sqlValue]
            })
            ON CONFLICT (repo_id, digest) DO UPDATE SET lease_until =
                CASE WHEN repo_blob.lease_until > excluded.lease_until
                THEN repo_blob.lease_until ELSE excluded.lease_until END
            RETURNING id
            """
        }.map { $0.int(0) }
        try hint(.link, ids, dueIn: lease)
    }

    /// The ids of repositories, which exist from now on.
    ///
    /// - Parameter known: those of some of them; nil if it was not asked yet.
    func makeRepositories(_ names: Set<RepositoryName>, known: [RepositoryName: Int64]? = nil) throws
        -> [RepositoryName: Int64]
    {
        let wanted = names.sorted { $0.text < $1.text }
        var known = try known ?? repositoryIDs(wanted)
        let missing = wanted.filter { known[$0] == nil }
        guard !missing.isEmpty else { return known }
        try startInBatches(missing) { some in
            """
            INSERT INTO repository (name, created_at) VALUES \(rows: some.map { [$0.sqlValue, now.sqlValue] })
            ON CONFLICT (name) DO NOTHING
            """
        }
        known.merge(try repositoryIDs(missing)) { old, _ in old }
        guard wanted.allSatisfy({ known[$0] != nil }) else { throw SQLError.conflict }  // deleted in between
        return known
    }

    private func repositoryIDs(_ names: [RepositoryName]) throws -> [RepositoryName: Int64] {
        let rows = try inBatches(names) { "SELECT id, name FROM repository WHERE name IN \(list: $0)" }
        let ids = Dictionary(rows.map { ($0.text(1), $0.int(0)) }, uniquingKeysWith: { first, _ in first })
        return Dictionary(
            names.compactMap { name in ids[name.text].map { (name, $0) } },
            uniquingKeysWith: { first, _ in first }
        )
    }
}
