package import OCI
import Retention
import SQLStore

/// Why something is alive, or since when it is not. Times are milliseconds since 1970.
package struct Explanation: Hashable, Sendable, Encodable {
    /// Manifests of this digest, one for each repository that has it.
    package var manifests: [LiveManifest] = []
    /// The blob of this digest, if there is one.
    package var blob: LiveBlob?
    /// What is kept of deleted manifests and tags of this digest, and the deleted repositories that have it.
    package var deleted: [Deletion] = []
    /// Objects with the bytes of this digest that wait to be deleted: when that is due.
    package var trash: [Int64] = []

    package var isEmpty: Bool { manifests.isEmpty && blob == nil && deleted.isEmpty && trash.isEmpty }

    package struct LiveManifest: Hashable, Sendable, Encodable {
        package let repository: String
        /// It stays until then although nothing names it: promised to clients.
        package let keepUntil: Int64
        package let tags: [String]
        /// Indexes of the repository that list it, with the tags that name them.
        package let indexes: [Named]
        /// The manifest that it is about, if the repository has it.
        package let subject: String?
        package let holds: [String]
        /// What becomes of it, if no tag, no index, no subject and no hold keeps it.
        package let untagged: Untagged?
    }

    package struct Untagged: Hashable, Sendable, Encodable {
        package let since: Int64
        /// The rule that lets it go. Nil if none does: it stays until somebody deletes it.
        package let rule: String?
        /// From when on a collector removes it, if nothing changes but the time. Nil if no rule lets it go.
        package let removedAt: Int64?
        /// When the bytes of what only it lists are gone then, at the latest.
        package let bytesUntil: Int64?
    }

    package struct LiveBlob: Hashable, Sendable, Encodable {
        /// Bytes.
        package let size: Int64
        package let links: [Link]
        /// The repositories that hold it may be more than those listed.
        package let hasMoreLinks: Bool
        /// When its bytes are gone at the latest, if nothing changes but the time. Nil if a manifest lists it, or if only one
        /// repository was asked about.
        package var bytesUntil: Int64?
    }

    package struct Link: Hashable, Sendable, Encodable {
        package let repository: String
        /// It stays until then although no manifest lists it: promised to clients.
        package let leaseUntil: Int64
        /// Manifests of the repository that list it.
        package let manifests: [Named]
    }

    /// A manifest and how a tag leads to it.
    package struct Named: Hashable, Sendable, Encodable {
        package let digest: String
        package let tags: [String]
        /// Of indexes that list it, where no tag names it.
        package let indexes: [String]
    }

    package struct Deletion: Hashable, Sendable, Encodable {
        package let repository: String
        /// Nil for a manifest.
        package let tag: String?
        package let deletedAt: Int64
        package let restorableUntil: Int64
        /// Who or which rule.
        package let reason: String
    }
}

extension MetadataStore {
    /// Why a blob or a manifest is alive, or since when it is not, which rule that was and when its bytes go. The lists
    /// are cut at ``explainLimit``.
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
        var explanation = Explanation()
        explanation.manifests = try liveManifests(digest, in: repos, promises)
        explanation.blob = try liveBlob(digest, in: repos)
        explanation.deleted = try deletions(of: digest, in: repos)
        return explanation
    }

    private var limit: Int64 { Int64(MetadataStore.explainLimit) }

    private func liveManifests(
        _ digest: Digest,
        in repos: ClosedRange<Int64>,
        _ promises: Promises
    ) throws -> [Explanation.LiveManifest] {
        try run(
            """
            SELECT m.id, r.name, m.keep_until, m.repo_id, s.digest, m.created_at FROM manifest m JOIN repository r ON r.id = m.repo_id
            LEFT JOIN manifest s ON s.repo_id = m.repo_id AND s.digest = m.subject AND \(word: .isNotPartOfM)
            WHERE m.digest = \(digest) AND m.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound)
            ORDER BY r.name LIMIT \(limit)
            """
        ).map { row in
            let tags = try tags(of: row.int(0))
            let holds = try holds(in: row.int(3)).filter { $0.isOn(digest, try tags.map { try Tag(parsing: $0) }) }
            let indexes = try indexes(listing: row.int(0)).map { try named($0) }
            let isKept = !tags.isEmpty || !indexes.isEmpty || !row.isNull(4) || !holds.isEmpty
            return Explanation.LiveManifest(
                repository: row.text(1),
                keepUntil: row.int(2),
                tags: tags,
                indexes: indexes,
                subject: row.isNull(4) ? nil : "\(row.digest(4))",
                holds: holds.map(\.description),
                untagged: isKept ? nil : try untagged(row, promises)
            )
        }
    }

    /// - Parameter row: id, name of the repository, keep_until, …, created_at of a manifest that nothing keeps.
    private func untagged(_ row: SQLRow, _ promises: Promises) throws -> Explanation.Untagged {
        let (id, keepUntil, createdAt) = (row.int(0), row.int(2), row.int(5))
        let policies = try policies(applyingTo: try RepositoryName(parsing: row.text(1)))
        let evaluator = RetentionEvaluator(policies: policies, holds: [])
        let sentences =
            try evaluator.keepsUntagged
            ? []
            : run(
                "SELECT since, reason, due_at FROM gc_hint WHERE kind = 4 AND ref = \(id) AND since >= \(createdAt)"
            ).map { (since: $0.int(0), rule: $0.optionalText(1), removedAt: max($0.int(2), keepUntil)) }
        let since = max(createdAt, keepUntil - promises.window)
        let rules = evaluator.untaggedLimit.map { limit in
            let rule = UntaggedRule(limit, createdAt: createdAt, keepUntil: keepUntil)
            return (since: since, rule: Optional(limit.rule), removedAt: rule.due(promises.window))
        }
        guard let first = (sentences + [rules].compactMap(\.self)).min(by: { $0.removedAt < $1.removedAt }) else {
            return Explanation.Untagged(since: since, rule: nil, removedAt: nil, bytesUntil: nil)
        }
        let lease = try run(
            """
            SELECT max(l.lease_until) FROM manifest_blob e JOIN repo_blob l ON l.id = e.link_id WHERE e.manifest_id = \(id)
            """
        ).first?.optionalInt(0)
        let unlinkedAt = max(max(first.removedAt, now) + promises.window, lease ?? 0)
        return Explanation.Untagged(
            since: first.since,
            rule: first.rule,
            removedAt: first.removedAt,
            bytesUntil: unlinkedAt + promises.blobDelay + promises.trash
        )
    }

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

    private func liveBlob(_ digest: Digest, in repos: ClosedRange<Int64>) throws -> Explanation.LiveBlob? {
        guard let size = try run("SELECT size FROM blob WHERE digest = \(digest)").first?.int(0) else { return nil }
        let links = try run(
            """
            SELECT l.id, r.name, l.lease_until FROM repo_blob l JOIN repository r ON r.id = l.repo_id
            WHERE l.digest = \(digest) AND l.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) ORDER BY l.id LIMIT \(limit + 1)
            """
        )
        return Explanation.LiveBlob(
            size: size,
            links: try links.prefix(MetadataStore.explainLimit).map { link in
                let manifests = try run(
                    """
                    SELECT m.id, m.digest FROM manifest_blob e JOIN manifest m ON m.id = e.manifest_id
                    WHERE e.link_id = \(link.int(0)) ORDER BY m.id DESC LIMIT \(limit)
                    """
                )
                return Explanation.Link(
                    repository: link.text(1),
                    leaseUntil: link.int(2),
                    manifests: try manifests.map { try named(($0.int(0), $0.digest(1))) }
                )
            },
            hasMoreLinks: links.count > MetadataStore.explainLimit
        )
    }

    private func deletions(of digest: Digest, in repos: ClosedRange<Int64>) throws -> [Explanation.Deletion] {
        let manifests = try run(
            """
            SELECT r.name, d.deleted_at, d.restorable_until, d.reason FROM deleted_manifest d
            JOIN repository r ON r.id = d.repo_id WHERE d.digest = \(digest)
            AND d.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) ORDER BY d.id DESC LIMIT \(limit)
            """
        ).map { Explanation.Deletion($0, tag: nil) }
        let tags = try run(
            """
            SELECT r.name, t.deleted_at, t.restorable_until, t.reason, t.name FROM deleted_manifest d
            JOIN deleted_tag t ON t.repo_id = d.repo_id AND t.digest = d.digest
            JOIN repository r ON r.id = d.repo_id WHERE d.digest = \(digest)
            AND d.repo_id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) ORDER BY t.id DESC LIMIT \(limit)
            """
        ).map { Explanation.Deletion($0, tag: $0.text(4)) }
        return manifests + tags + (try deletedRepositories(holding: digest, in: repos))
    }

    /// The deleted repositories that can still be put back, and have it as a blob or a manifest.
    private func deletedRepositories(holding digest: Digest, in repos: ClosedRange<Int64>) throws
        -> [Explanation.Deletion]
    {
        try run(
            """
            SELECT name, deleted_at, restorable_until, 'with the whole repository' FROM deleted_repository
            WHERE id BETWEEN \(repos.lowerBound) AND \(repos.upperBound) AND restorable_until > 0
            AND (id IN (SELECT repo_id FROM repo_blob WHERE digest = \(digest))
                OR EXISTS (SELECT 1 FROM manifest m WHERE m.repo_id = deleted_repository.id AND m.digest = \(digest)))
            ORDER BY id DESC LIMIT \(limit)
            """
        ).map { Explanation.Deletion($0, tag: nil) }
    }

    private func tags(of manifest: Int64) throws -> [String] {
        try run("SELECT name FROM tag WHERE manifest_id = \(manifest) ORDER BY name LIMIT \(limit)").map { $0.text(0) }
    }

    private func indexes(listing manifest: Int64) throws -> [(Int64, Digest)] {
        try run(
            """
            SELECT DISTINCT m.id, m.digest FROM manifest_child c JOIN manifest m ON m.id = c.parent_id
            WHERE c.child_id = \(manifest) ORDER BY m.id LIMIT \(limit)
            """
        ).map { ($0.int(0), $0.digest(1)) }
    }

    private func named(_ manifest: (id: Int64, digest: Digest)) throws -> Explanation.Named {
        let own = try tags(of: manifest.id)
        return Explanation.Named(
            digest: "\(manifest.digest)",
            tags: own,
            indexes: own.isEmpty ? try indexes(listing: manifest.id).map { "\($0.1)" } : []
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
