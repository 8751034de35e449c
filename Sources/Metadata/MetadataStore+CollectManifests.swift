import OCI
import Retention
import SQLStore

extension MetadataStore {
    /// Most rows of a step of a collector.
    package var collectedRows: Int { database.dialect.backgroundRows }

    /// A transaction of a collector. Its questions are asked of an index even where most rows of a table would match: a
    /// layer that a million manifests share is the one that a planner would read a whole table for.
    func collecting<Result: Sendable>(_ body: @escaping @Sendable (any SQLTransaction) throws -> Result) async throws
        -> Result
    {
        let settings = database.dialect.planSettings
        return try await database.write { db in
            for setting in settings { try db.run(setting) }
            return try body(db)
        }
    }

    /// The same on the hints of a kind that have been due for longest. What fails each time must not be all that is ever tried,
    /// so after an error these hints come later than others.
    func collecting(
        _ kind: HintKind,
        limit: Int,
        _ body: @escaping @Sendable (any SQLTransaction, _ hints: [SQLRow]) throws -> Collected
    ) async throws -> Collected {
        do {
            return try await collecting { db in
                let hints = try db.dueHints(kind, limit: limit)
                return try hints.isEmpty ? Collected() : body(db, hints)
            }
        } catch {
            await putOff(kind, limit: limit)
            throw error
        }
    }

    private func putOff(_ kind: HintKind, limit: Int) async {
        do {
            try await database.write { db in
                // In one to two minutes, each at another time, so that one that fails does so alone the next time.
                for hint in try db.dueHints(kind, limit: limit) {
                    let due = db.now + 60_000 + hint.int(0) % 60 * 1000
                    try db.run("UPDATE gc_hint SET due_at = \(due) WHERE id = \(hint.int(0))")
                }
            }
        } catch {
            // The database takes nothing at all, which is what the collector says already.
        }
    }

    /// Looks at manifests that something let go of. One goes if the policies of its repository have a rule for such
    /// manifests, and is looked at again if it is too young for it.
    ///
    /// At most one is locked and removed in a transaction: two that share layers would else wait for each other. What to
    /// look at again, and what has another name, is seen without a lock: whoever takes that name leaves a hint, too.
    ///
    /// - Parameter limit: most hints that are worked off.
    package func collectReleasedManifests(limit: Int) async throws -> Collected {
        let (window, lock) = (promises.window, database.dialect.tableLock("retention_policy"))
        return try await collecting(.manifest, limit: limit) { db, hints in
            let released = try db.released(manifests: hints.map { $0.int(1) })
            let young = released.ruled.filter { $0.value.due(window) > db.now }
            let named = try db.named(manifests: released.ruled.keys.filter { young[$0] == nil }.sorted())
            let old = hints.filter {
                released.ruled[$0.int(1)] != nil && young[$0.int(1)] == nil && !named.contains($0.int(1))
            }
            let done = hints.filter { hint in !old.dropFirst().contains { $0.int(0) == hint.int(0) } }
            try db.drop(hints: done.map { $0.int(0) })
            try db.hint(.manifest, young.sorted { $0.key < $1.key }.map { ($0.key, $0.value.due(window)) })
            // Should their repository be put back, nothing else would lead to them.
            try db.hint(.manifest, released.homeless, dueIn: window)
            var collected = Collected(hints: done.count)
            guard let chosen = old.first?.int(1) else { return collected }
            collected += try db.collect(manifest: chosen, .manifest, nil, window, lock) { manifest, evaluator in
                evaluator.untaggedLimit.map { limit in
                    let rule = UntaggedRule(limit, createdAt: manifest.createdAt, keepUntil: manifest.keepUntil)
                    return (rule.name, rule.due(window))
                }
            }
            return collected
        }
    }

    /// Removes one manifest that a rule let go of, unless something names it again or a rule keeps manifests without a name.
    /// What it named goes the same way.
    package func collectCondemnedManifest() async throws -> Collected {
        let (window, lock) = (promises.window, database.dialect.tableLock("retention_policy"))
        return try await collecting(.condemned, limit: 1) { db, hints in
            let hint = hints[0]
            try db.drop(hints: [hint.int(0)])
            var collected = Collected(hints: 1)
            let sentence = Sentence(reason: hint.optionalText(3) ?? "", since: hint.int(4))
            collected += try db.collect(manifest: hint.int(1), .condemned, sentence, window, lock) {
                manifest,
                evaluator in
                evaluator.keepsUntagged ? nil : (sentence.reason, manifest.keepUntil)
            }
            return collected
        }
    }
}

/// What the policies say of a manifest without a name, and what they go by, as it is without a lock.
struct UntaggedRule {
    let name: String
    /// Milliseconds.
    let age: Int64
    let createdAt: Int64
    let keepUntil: Int64

    init(_ limit: (age: Int64, rule: String), createdAt: Int64, keepUntil: Int64) {
        (name, age) = (limit.rule, limit.age)
        (self.createdAt, self.keepUntil) = (createdAt, keepUntil)
    }

    /// When it may go. Every promise and every name that it lost has put the end of its promises a window ahead, or further.
    func due(_ window: Int64) -> Int64 { max(keepUntil, keepUntil - window + age, createdAt + age) }
}

/// A manifest's row, locked.
struct LockedManifest: Sendable {
    let id: Int64
    let repo: Int64
    let digest: Digest
    let createdAt: Int64
    let keepUntil: Int64
    /// Bytes of its payload.
    let size: Int64
}

extension SQLTransaction {
    /// Removes a manifest if nothing needs it, the policies let it go and it is due, and else looks again when it is.
    ///
    /// - Parameters:
    ///   - kind: of the hint that led here.
    ///   - sentence: why and when it was condemned, if it was; one that was named again later stays.
    ///   - policyLock: makes whoever sets a policy wait: what it says holds for all that is removed after it was answered.
    ///   - verdict: by which rule and when it may go; nil if it stays.
    fileprivate func collect(
        manifest id: Int64,
        _ kind: HintKind,
        _ sentence: Sentence?,
        _ window: Int64,
        _ policyLock: [Query],
        verdict: (LockedManifest, RetentionEvaluator) -> (reason: String, due: Int64)?
    ) throws -> Collected {
        guard let manifest = try lockManifest(id) else {
            // It is gone, or somebody is about to refer to it.
            let exists = try !run("SELECT 1 FROM manifest WHERE id = \(id)").isEmpty
            if exists { try hint(kind, [id], dueIn: MetadataStore.busyDelay, sentence) }
            return Collected()
        }
        if let sentence, manifest.createdAt > sentence.since { return Collected() }
        // An index that was pushed at the same moment did not see it, nor was seen.
        try adopt(manifest: manifest.id, manifest.digest, in: manifest.repo)
        guard try !isKept(manifest) else { return Collected() }
        if try isHeld(manifest) {
            // Whoever releases the hold makes a hint, which says nothing of a sentence.
            if sentence != nil { try hint(kind, [id], dueIn: window, sentence) }
            return Collected()
        }
        for statement in policyLock { try run(statement) }
        guard let policies = try policies(ofRepository: manifest.repo) else {
            // Should the repository be put back, its policies hold for all that it held.
            try hint(kind, [id], dueIn: window, sentence)
            return Collected()
        }
        guard let (reason, due) = verdict(manifest, RetentionEvaluator(policies: policies, holds: [])) else {
            return Collected()
        }
        guard due <= now else {
            try hint(kind, [(id, due)], sentence)
            return Collected()
        }
        guard let dependents = try lockDependents(of: manifest) else {
            try hint(kind, [id], dueIn: MetadataStore.busyDelay, sentence)
            return Collected()
        }
        try remove(manifest, with: dependents, keepingFor: window, reason: reason)
        return Collected(removed: 1, bytes: manifest.size)
    }

    /// Those that hold for a repository; nil where it was deleted.
    private func policies(ofRepository id: Int64) throws -> [ScopedPolicy]? {
        guard let row = try run("SELECT name FROM repository WHERE id = \(id)").first else { return nil }
        return try policies(applyingTo: RepositoryName(parsing: row.text(0)))
    }

    /// Nil if it is gone, or if somebody else has it.
    private func lockManifest(_ id: Int64) throws -> LockedManifest? {
        let rows = try run(
            """
            SELECT id, repo_id, digest, created_at, keep_until, length(payload) FROM manifest WHERE id = \(id)
            \(lock: .updateUnlessLocked)
            """
        )
        return rows.first.map {
            LockedManifest(
                id: $0.int(0),
                repo: $0.int(1),
                digest: $0.digest(2),
                createdAt: $0.int(3),
                keepUntil: $0.int(4),
                size: $0.int(5)
            )
        }
    }

    /// What the policies say of manifests without a name in the repositories of these, where they say anything.
    ///
    /// - Returns: that by manifest, and the manifests whose repository was deleted and is not emptied yet.
    fileprivate func released(
        manifests ids: [Int64]
    ) throws -> (ruled: [Int64: UntaggedRule], homeless: [Int64]) {
        let rows = try inBatches(Set(ids).sorted()) {
            """
            SELECT m.id, r.name, m.created_at, m.keep_until FROM manifest m LEFT JOIN repository r ON r.id = m.repo_id
            WHERE m.id IN \(list: $0) ORDER BY m.id
            """
        }
        let housed = try Dictionary(grouping: rows.filter { !$0.isNull(1) }) { try RepositoryName(parsing: $0.text(1)) }
        let policies = try policies(applyingTo: Set(housed.keys))
        var ruled: [Int64: UntaggedRule] = [:]
        for (name, rows) in housed {
            guard let policies = policies[name],
                let limit = RetentionEvaluator(policies: policies, holds: []).untaggedLimit
            else { continue }
            for row in rows {
                ruled[row.int(0)] = UntaggedRule(limit, createdAt: row.int(2), keepUntil: row.int(3))
            }
        }
        return (ruled, rows.filter { $0.isNull(1) }.map { $0.int(0) })
    }

    /// Those of these manifests that a tag or an index names.
    fileprivate func named(manifests ids: [Int64]) throws -> Set<Int64> {
        let named = try inBatches(ids) {
            """
            SELECT manifest_id FROM tag WHERE manifest_id IN \(list: $0)
            UNION SELECT child_id FROM manifest_child WHERE child_id IN \(list: $0)
            """
        }
        return Set(named.map { $0.int(0) })
    }

    /// Whether a tag, an index or its subject keeps a manifest. Asked in later statements than its lock.
    private func isKept(_ manifest: LockedManifest) throws -> Bool {
        if try isNamed(manifest: manifest.id) { return true }
        return try !run(
            """
            SELECT 1 FROM manifest m JOIN manifest s ON s.repo_id = m.repo_id AND s.digest = m.subject
            WHERE m.id = \(manifest.id) AND \(word: .isNotPartOfM)
            """
        ).isEmpty
    }

    /// Whether a hold does. Asked in a later statement than its lock, too.
    private func isHeld(_ manifest: LockedManifest) throws -> Bool {
        try !run(
            "SELECT 1 FROM retention_hold WHERE repo_id = \(manifest.repo) AND subject = \("\(manifest.digest)")"
        ).isEmpty
    }

    /// Locks the manifests that one lists and those that have it as their subject, against pushes that name them: whoever
    /// comes later sees what is said of them here.
    ///
    /// - Returns: nil if somebody has one of them.
    private func lockDependents(of manifest: LockedManifest) throws -> [Int64]? {
        let referrers = try run(
            "SELECT id FROM manifest WHERE repo_id = \(manifest.repo) AND subject = \(manifest.digest)"
        ).map { $0.int(0) }
        let found = Set(try children(of: manifest.id) + referrers)
        let locked = try inBatches(found.sorted()) {
            "SELECT id FROM manifest WHERE id IN \(list: $0) ORDER BY id \(lock: .updateUnlessLocked)"
        }.map { $0.int(0) }
        return locked.count == found.count ? locked : nil
    }

    /// Removes a manifest that nothing names, and condemns what only it gave a reason to stay.
    ///
    /// - Parameters:
    ///   - dependents: the manifests that it lists and those that have it as their subject, locked.
    ///   - window: how long its blobs stay.
    private func remove(
        _ manifest: LockedManifest,
        with dependents: [Int64],
        keepingFor window: Int64,
        reason: String
    ) throws {
        // No tag has named it for a window, so what a client was told of its children was promised to it by themselves.
        try forget(manifest: manifest.id, keepingFor: window, childrenFor: 0, reason: reason)
        // What has another name is no longer this rule's to judge when it loses that one.
        let named = try named(manifests: dependents)
        try hint(.condemned, dependents.filter { !named.contains($0) }, dueIn: 0, Sentence(reason: reason, since: now))
    }
}
