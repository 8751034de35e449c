import OCI
import Retention
import SQLStore

/// Follows what keeps manifests upwards, through indexes and subjects, to the tags: a few levels, and some of each.
struct KeeperSearch {
    private let db: any SQLTransaction
    private let promises: Promises
    /// How many manifests it may still look at. The rest is said to be more.
    private var left = 200
    private var holds: [Int64: [RetentionHold]] = [:]
    private var rules: [Int64: RetentionEvaluator] = [:]

    /// Levels above the manifest that it begins at.
    private static let mostLevels = 5

    private let limit = MetadataStore.explainLimit

    init(_ db: any SQLTransaction, _ promises: Promises) { (self.db, self.promises) = (db, promises) }

    /// A manifest's row.
    struct Row {
        let id: Int64
        let repo: Int64
        let digest: Digest
        let createdAt: Int64
        let keepUntil: Int64
        let hasSubject: Bool

        /// - Parameter row: begins with `columnsOfM`.
        init(_ row: SQLRow) {
            (id, repo, digest) = (row.int(0), row.int(1), row.digest(2))
            (createdAt, keepUntil, hasSubject) = (row.int(3), row.int(4), !row.isNull(5))
        }
    }

    /// - Parameter level: how far it is from the one that was asked about.
    mutating func explain(_ row: Row, level: Int = 0) throws -> Explanation.Manifest {
        guard left > 0 else { return Explanation.Manifest(digest: row.digest, keepUntil: row.keepUntil, hasMore: true) }
        left -= 1
        let tags = try db.run(
            "SELECT name FROM tag WHERE manifest_id = \(row.id) ORDER BY name LIMIT \(Int64(limit + 1))"
        ).map { $0.text(0) }
        let parsed = try tags.map { try Tag(parsing: $0) }
        var found = Explanation.Manifest(
            digest: row.digest,
            keepUntil: row.keepUntil,
            tags: Array(tags.prefix(limit)),
            holds: try holds(in: row.repo).filter { $0.isOn(row.digest, parsed) }.map(\.description),
            hasMore: tags.count > limit
        )
        guard level == 0 || tags.isEmpty else { return found }
        let indexes = try db.indexes(listing: row, limit: limit + 1)
        let subject = try row.hasSubject ? db.subject(of: row) : nil
        if level < Self.mostLevels {
            found.indexes = try indexes.prefix(limit).map { try explain($0, level: level + 1) }
            found.subject = try subject.map { try explain($0, level: level + 1) }
        }
        let keepers = found.indexes + [found.subject].compactMap(\.self)
        if keepers.count < indexes.count + (subject == nil ? 0 : 1) { found.hasMore = true }
        guard tags.isEmpty, found.holds.isEmpty, !found.hasMore else { return found }
        if keepers.isEmpty {
            found.untagged = try untagged(row)
        } else {
            found.end = try end(of: row, with: keepers)
        }
        return found
    }

    private mutating func holds(in repo: Int64) throws -> [RetentionHold] {
        if let known = holds[repo] { return known }
        let found = try db.holds(in: repo)
        holds[repo] = found
        return found
    }

    private mutating func rules(in repo: Int64) throws -> RetentionEvaluator {
        if let known = rules[repo] { return known }
        let names = try db.run("SELECT name FROM repository WHERE id = \(repo)").map {
            try RepositoryName(parsing: $0.text(0))
        }
        let found = RetentionEvaluator(policies: try names.flatMap { try db.policies(applyingTo: $0) }, holds: [])
        rules[repo] = found
        return found
    }

    /// What becomes of a manifest that nothing keeps.
    private mutating func untagged(_ row: Row) throws -> Explanation.Untagged {
        let evaluator = try rules(in: row.repo)
        let sentences =
            try evaluator.keepsUntagged
            ? []
            : db.run(
                "SELECT since, reason, due_at FROM gc_hint WHERE kind = 4 AND ref = \(row.id) AND since >= \(row.createdAt)"
            ).map { (since: $0.int(0), rule: $0.optionalText(1), removedAt: max($0.int(2), row.keepUntil)) }
        let since = max(row.createdAt, row.keepUntil - promises.window)
        let rules = evaluator.untaggedLimit.map { limit in
            let rule = UntaggedRule(limit, createdAt: row.createdAt, keepUntil: row.keepUntil)
            return (since: since, rule: Optional(limit.rule), removedAt: rule.due(promises.window))
        }
        guard let first = (sentences + [rules].compactMap(\.self)).min(by: { $0.removedAt < $1.removedAt }) else {
            return Explanation.Untagged(since: since, rule: nil, removedAt: nil, bytesUntil: nil)
        }
        return Explanation.Untagged(
            since: first.since,
            rule: first.rule,
            removedAt: first.removedAt,
            bytesUntil: try end(ofBytesOf: row, removedAt: first.removedAt)
        )
    }

    /// When a manifest goes that is condemned with the last of what keeps it. Nil if some of that stays.
    private func end(of row: Row, with keepers: [Explanation.Manifest]) throws -> Explanation.End? {
        let ends = keepers.compactMap(\.removedAt)
        guard ends.count == keepers.count, let last = ends.max() else { return nil }
        let removedAt = max(last, row.keepUntil)
        return Explanation.End(removedAt: removedAt, bytesUntil: try end(ofBytesOf: row, removedAt: removedAt))
    }

    /// When the bytes of what only a manifest lists are gone, at the latest.
    private func end(ofBytesOf row: Row, removedAt: Int64) throws -> Int64 {
        let lease = try db.run(
            """
            SELECT max(l.lease_until) FROM manifest_blob e JOIN repo_blob l ON l.id = e.link_id WHERE e.manifest_id = \(row.id)
            """
        ).first?.optionalInt(0)
        let unlinkedAt = max(max(removedAt, db.now) + promises.window, lease ?? 0)
        return unlinkedAt + promises.blobDelay + promises.trash
    }
}

extension SQLTransaction {
    /// The last manifests that list a blob of a repository, at most `limit`; those first that a tag names.
    func manifests(listing link: Int64, limit: Int) throws -> [KeeperSearch.Row] {
        try run(
            """
            SELECT \(word: .columnsOfM) FROM manifest m JOIN (
                SELECT manifest_id FROM manifest_blob WHERE link_id = \(link) ORDER BY manifest_id DESC LIMIT 1000
            ) e ON e.manifest_id = m.id
            ORDER BY \(word: .rankOfM), m.id DESC LIMIT \(Int64(limit))
            """
        ).map(KeeperSearch.Row.init)
    }

    /// The last indexes that list a manifest, at most `limit`; those first that a tag names. One that was pushed at the same
    /// moment as the manifest may not know its row.
    fileprivate func indexes(listing row: KeeperSearch.Row, limit: Int) throws -> [KeeperSearch.Row] {
        try run(
            """
            SELECT \(word: .columnsOfM) FROM manifest m WHERE m.id IN (
                SELECT parent_id FROM (
                    SELECT DISTINCT parent_id FROM manifest_child WHERE child_id = \(row.id) ORDER BY parent_id DESC LIMIT 1000
                ) known
                UNION SELECT parent_id FROM manifest_child
                WHERE repo_id = \(row.repo) AND child_digest = \(row.digest) AND child_id IS NULL
            )
            ORDER BY \(word: .rankOfM), m.id DESC LIMIT \(Int64(limit))
            """
        ).map(KeeperSearch.Row.init)
    }

    fileprivate func subject(of row: KeeperSearch.Row) throws -> KeeperSearch.Row? {
        try run(
            """
            SELECT \(word: .columnsOfM) FROM manifest m WHERE m.repo_id = \(row.repo) AND m.digest = (
                SELECT m.subject FROM manifest m WHERE m.id = \(row.id) AND \(word: .isNotPartOfM)
            )
            """
        ).first.map(KeeperSearch.Row.init)
    }
}

extension StaticString {
    static let columnsOfM: StaticString = "m.id, m.repo_id, m.digest, m.created_at, m.keep_until, m.subject"

    /// Orders manifests `m`: those that a tag names before those that an index lists, before others.
    fileprivate static let rankOfM: StaticString = """
        CASE WHEN EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id) THEN 0
            WHEN EXISTS (SELECT 1 FROM manifest_child c WHERE c.child_id = m.id) THEN 1 ELSE 2 END
        """
}
