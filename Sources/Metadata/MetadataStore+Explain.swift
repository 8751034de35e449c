package import OCI
import SQLStore

extension MetadataStore {
    /// Why a blob or a manifest is alive, or since when it is not, which rule that was and when its bytes go. The lists
    /// are cut at ``explainLimit``, and say so.
    package func explain(_ digest: Digest) async throws -> Explanation {
        let promises = promises
        return try await database.read { db in
            var explanation = try db.explain(digest, in: 0...(.max), promises)
            explanation.blob?.bytesUntil = try db.end(ofBlob: digest, promises)
            explanation.trash = try db.run(
                "SELECT delete_after FROM object_trash WHERE digest = \(digest) ORDER BY delete_after"
            ).map { $0.int(0) }
            return explanation
        }
    }

    /// The same as far as one repository is concerned: whether others have the blob is not told, nor when its bytes go.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func explain(_ digest: Digest, in repository: RepositoryName) async throws -> Explanation {
        let promises = promises
        return try await database.read { db in
            let repo = try db.existingRepositoryID(repository)
            var explanation = try db.explain(digest, in: repo...repo, promises)
            if explanation.blob?.links.isEmpty == true { explanation.blob = nil }
            return explanation
        }
    }

    package static let explainLimit = 20
}

extension SQLTransaction {
    /// - Parameter repos: the rows of the repositories that are looked at, one or all.
    fileprivate func explain(
        _ digest: Digest,
        in repos: ClosedRange<Int64>,
        _ promises: Promises
    ) throws -> Explanation {
        var explanation = Explanation(askedAt: now)
        var search = KeeperSearch(self, promises)
        let manifests = try run(
            """
            SELECT \(word: .columnsOfM), r.name FROM manifest m JOIN repository r ON r.id = m.repo_id
            WHERE m.digest = \(digest) AND m.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound)
            ORDER BY r.name LIMIT \(limit + 1)
            """
        )
        explanation.manifests = try manifests.prefix(Int(limit)).map { row in
            Explanation.LiveManifest(repository: row.text(6), manifest: try search.explain(KeeperSearch.Row(row)))
        }
        explanation.hasMoreManifests = manifests.count > limit
        explanation.blob = try liveBlob(digest, in: repos, &search)
        try addDeletions(of: digest, in: repos, to: &explanation)
        return explanation
    }

    private var limit: Int64 { Int64(MetadataStore.explainLimit) }

    /// When the bytes of a blob are gone, at the latest. Nil if a manifest lists it.
    fileprivate func end(ofBlob digest: Digest, _ promises: Promises) throws -> Int64? {
        let edges = try run(
            """
            SELECT 1 FROM manifest_blob e JOIN repo_blob l ON l.id = e.link_id WHERE l.digest = \(digest) LIMIT 1
            """
        )
        guard edges.isEmpty else { return nil }
        let lease = try run("SELECT max(lease_until) FROM repo_blob WHERE digest = \(digest)").first?.optionalInt(0)
        return max(lease ?? 0, now) + promises.blobDelay + promises.trash
    }

    private func liveBlob(
        _ digest: Digest,
        in repos: ClosedRange<Int64>,
        _ search: inout KeeperSearch
    ) throws -> Explanation.LiveBlob? {
        guard let size = try run("SELECT size FROM blob WHERE digest = \(digest)").first?.int(0) else { return nil }
        let links = try run(
            """
            SELECT l.id, r.name, l.lease_until FROM repo_blob l JOIN repository r ON r.id = l.repo_id
            WHERE l.digest = \(digest) AND l.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) ORDER BY l.id LIMIT \(limit + 1)
            """
        )
        return Explanation.LiveBlob(
            size: size,
            links: try links.prefix(Int(limit)).map { link in
                let manifests = try manifests(listing: link.int(0), limit: Int(limit) + 1)
                let deleted = try manifests.isEmpty ? deletedManifests(listing: digest, of: link.int(0)) : []
                return Explanation.Link(
                    repository: link.text(1),
                    leaseUntil: link.int(2),
                    manifests: try manifests.prefix(Int(limit)).map { try search.explain($0, level: 1) },
                    hasMoreManifests: manifests.count > limit,
                    deletedManifests: deleted
                )
            },
            hasMoreLinks: links.count > limit
        )
    }

    /// Looks at the last 200 that were deleted from the repository: nothing leads from a blob to them any more.
    private func deletedManifests(listing digest: Digest, of link: Int64) throws -> [Explanation.DeletedManifest] {
        let rows = try run(
            """
            SELECT d.digest, d.deleted_at, d.restorable_until, d.reason, y.name, d.payload FROM deleted_manifest d
            JOIN media_type y ON y.id = d.media_type_id
            WHERE d.repo_id = (SELECT repo_id FROM repo_blob WHERE id = \(link)) ORDER BY d.id DESC LIMIT 200
            """
        )
        let listing = try rows.filter { row in
            let algorithm = row.digest(0).algorithm
            let manifest = try Manifest(decoding: row.bytes(5), declaredType: row.text(4), algorithm: algorithm)
            return manifest.blobs.contains { $0.digest == digest }
        }
        return listing.prefix(Int(limit)).map { row in
            Explanation.DeletedManifest(
                digest: "\(row.digest(0))",
                deletedAt: row.int(1),
                restorableUntil: row.int(2),
                reason: row.text(3)
            )
        }
    }

    private func addDeletions(of digest: Digest, in repos: ClosedRange<Int64>, to explanation: inout Explanation) throws
    {
        let manifests = try run(
            """
            SELECT r.name, d.deleted_at, d.restorable_until, d.reason FROM deleted_manifest d
            JOIN repository r ON r.id = d.repo_id WHERE d.digest = \(digest)
            AND d.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) ORDER BY d.id DESC LIMIT \(limit + 1)
            """
        )
        let tags = try run(
            """
            SELECT r.name, t.deleted_at, t.restorable_until, t.reason, t.name FROM deleted_manifest d
            JOIN deleted_tag t ON t.repo_id = d.repo_id AND t.digest = d.digest
            JOIN repository r ON r.id = d.repo_id WHERE d.digest = \(digest)
            AND d.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) ORDER BY t.id DESC LIMIT \(limit + 1)
            """
        )
        let repositories = try deletedRepositories(holding: digest, in: repos)
        explanation.hasMoreDeleted = [manifests, tags, repositories].contains { $0.count > limit }
        explanation.deleted =
            manifests.prefix(Int(limit)).map { Explanation.Deletion($0, tag: nil) }
            + tags.prefix(Int(limit)).map { Explanation.Deletion($0, tag: $0.text(4)) }
            + repositories.prefix(Int(limit)).map { Explanation.Deletion($0, tag: nil) }
    }

    /// The deleted repositories that can still be put back, and have it as a blob or a manifest.
    private func deletedRepositories(holding digest: Digest, in repos: ClosedRange<Int64>) throws -> [SQLRow] {
        try run(
            """
            SELECT name, deleted_at, restorable_until, 'with the whole repository' FROM deleted_repository
            WHERE id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) AND restorable_until > 0
            AND (id IN (SELECT repo_id FROM repo_blob WHERE digest = \(digest))
                OR EXISTS (SELECT 1 FROM manifest m WHERE m.repo_id = deleted_repository.id AND m.digest = \(digest)))
            ORDER BY id DESC LIMIT \(limit + 1)
            """
        )
    }
}

extension Explanation.Deletion {
    fileprivate init(_ row: SQLRow, tag: String?) {
        self.init(
            repository: row.text(0),
            tag: tag,
            deletedAt: row.int(1),
            restorableUntil: row.int(2),
            reason: row.text(3)
        )
    }
}
