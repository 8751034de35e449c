package import OCI
import Retention
import SQLStore

/// What a run of the policies on a repository deleted.
package struct RetentionRun: Hashable, Sendable {
    package let id: Int64
    package let repository: RepositoryName
    /// Milliseconds since 1970.
    package let startedAt: Int64
    /// Who began it: `schedule` or `request`.
    package let cause: String
    /// The policies that held, each as `scope@version`.
    package let policies: [String]
    package let tags: Int64
    /// Manifests without a name that were let go of.
    package let manifests: Int64
    /// What its plan said would be freed.
    package let bytes: Int64
}

extension MetadataStore {
    /// Deletes what a plan says, except what has changed since: a tag that was pushed, moved or pulled, a new policy, a
    /// new hold.
    ///
    /// - Throws: ``RegistryError`` `.preconditionFailed` if the policies or the holds are others by now, or a tag that was to
    ///   be kept is gone.
    package func apply(_ plan: RetentionPlan, cause: String) async throws -> RetentionRun {
        var tags = 0
        let dropped = plan.tags.filter { $0.verdict.decision == .delete }
        for some in dropped.chunked(by: Self.rulesBatch) { tags += try await drop(some, plan) }
        let old = plan.untagged.filter { $0.verdict.decision == .delete }.map(\.manifest)
        for some in old.chunked(by: 256) {
            // The collector asks the policies itself.
            try await database.write { try $0.hint(.manifest, some, dueIn: 0) }
        }
        try await announce(plan)
        return try await record(plan, cause, tags: tags, manifests: old.count)
    }

    /// The last runs on a repository, the newest first. Runs that deleted nothing are not written down.
    ///
    /// - Parameter id: only those before it.
    package func retentionRuns(
        of repository: RepositoryName,
        before id: Int64?,
        limit: Int
    ) async throws -> [RetentionRun] {
        try await database.read { db in
            try db.run(
                """
                SELECT id, started_at, cause, policies, tags, manifests, bytes FROM retention_run
                WHERE repository = \(repository) AND id < \(id ?? .max) ORDER BY id DESC LIMIT \(Int64(limit))
                """
            ).map {
                RetentionRun(
                    id: $0.int(0),
                    repository: repository,
                    startedAt: $0.int(1),
                    cause: $0.text(2),
                    policies: $0.text(3).split(separator: " ").map(String.init),
                    tags: $0.int(4),
                    manifests: $0.int(5),
                    bytes: $0.int(6)
                )
            }
        }
    }

    /// Most tags of a transaction, which pushes wait for on SQLite.
    private static let rulesBatch = 20

    private func drop(_ tags: [RetentionPlan.TagPlan], _ plan: RetentionPlan) async throws -> Int {
        let window = promises.window
        let policyLock = database.dialect.tableLock("retention_policy")
        return try await database.write { db in
            // Tags before manifests, and both in the order of their names, as pushes lock them.
            let locked = try tags.filter { try db.lockUnchanged($0, in: plan.repo) }
            let unchanged = try locked.filter { try !db.wasPulled($0, in: plan.repo) }
            let manifests = Dictionary(grouping: unchanged) { $0.facts.digest }.sorted { $0.key < $1.key }
            for (_, tags) in manifests {
                // Against pushes that name it: whoever comes later sees what is said of it here.
                try db.run("SELECT id FROM manifest WHERE id = \(tags[0].manifest) \(lock: .update)")
            }
            // A policy that is set meanwhile waits: what it says holds for all that is deleted after it was answered.
            for statement in policyLock { try db.run(statement) }
            try db.checkPolicies(of: plan)
            try db.checkKept(by: plan)
            for tag in unchanged {
                let rows = try db.run(
                    """
                    DELETE FROM tag WHERE repo_id = \(plan.repo) AND name = \(tag.facts.name)
                    RETURNING repo_id, name, updated_at
                    """
                )
                let reason = tag.verdict.deletedBy.joined(separator: ", ")
                try db.remember(rows, of: tag.facts.digest, keepingFor: window, reason: reason)
            }
            for (_, tags) in manifests {
                let id = tags[0].manifest
                try db.release(manifest: id, keepingFor: window)
                if try !db.isNamed(manifest: id) {
                    let rows = try db.run("SELECT keep_until FROM manifest WHERE id = \(id)")
                    let reason = tags[0].verdict.deletedBy.joined(separator: ", ")
                    try db.hint(.condemned, rows.map { (id, $0.int(0)) }, Sentence(reason: reason, since: db.now))
                }
            }
            return unchanged.count
        }
    }

    /// Writes down when tags will go, for those who pull them.
    private func announce(_ plan: RetentionPlan) async throws {
        let horizon = plan.madeAt + Self.announcedAhead
        let changed = plan.tags.compactMap { tag -> (tag: RetentionPlan.TagPlan, expiresAt: Int64?)? in
            guard tag.verdict.decision == .keep else { return nil }
            let expiresAt = tag.verdict.deletedFrom.flatMap { $0 <= horizon ? $0 : nil }
            return expiresAt == tag.expiresAt ? nil : (tag, expiresAt)
        }
        for some in changed.chunked(by: Self.rulesBatch) {
            try await database.write { db in
                for (tag, expiresAt) in some {
                    try db.run(
                        """
                        UPDATE tag SET expires_at = \(optional: expiresAt) WHERE repo_id = \(plan.repo)
                        AND name = \(tag.facts.name) AND updated_at = \(tag.facts.pushedAt)
                        """
                    )
                }
            }
        }
    }

    /// A day more than clients are told ahead, so that a run a day is enough. Milliseconds.
    private static let announcedAhead: Int64 = 8 * 24 * 3_600_000

    private func record(_ plan: RetentionPlan, _ cause: String, tags: Int, manifests: Int) async throws -> RetentionRun
    {
        let policies = plan.policies.map(\.identity)
        return try await database.write { db in
            var id: Int64 = 0
            if tags + manifests > 0 {
                id =
                    try db.run(
                        """
                        INSERT INTO retention_run
                            (repository, started_at, cause, policies, tags, manifests, bytes)
                        VALUES (\(plan.repository), \(plan.madeAt), \(cause), \(policies.joined(separator: " ")),
                            \(Int64(tags)), \(Int64(manifests)), \(plan.freed.bytes))
                        RETURNING id
                        """
                    ).first?.int(0) ?? 0
            }
            return RetentionRun(
                id: id,
                repository: plan.repository,
                startedAt: plan.madeAt,
                cause: cause,
                policies: policies,
                tags: Int64(tags),
                manifests: Int64(manifests),
                bytes: plan.freed.bytes
            )
        }
    }
}

extension SQLTransaction {
    /// Locks a tag, and tells whether it is as it was when the plan was made.
    fileprivate func lockUnchanged(_ tag: RetentionPlan.TagPlan, in repo: Int64) throws -> Bool {
        try run(
            """
            SELECT 1 FROM tag WHERE repo_id = \(repo) AND name = \(tag.facts.name) AND manifest_id = \(tag.manifest)
            AND updated_at = \(tag.facts.pushedAt) \(lock: .update)
            """
        ).count == 1
    }

    fileprivate func wasPulled(_ tag: RetentionPlan.TagPlan, in repo: Int64) throws -> Bool {
        let references = [tag.facts.name.text, "\(tag.facts.digest)"]
        let last = try run(
            "SELECT max(last_at) FROM pull_stat WHERE repo_id = \(repo) AND reference IN \(list: references)"
        ).first?.optionalInt(0)
        return last ?? 0 > tag.facts.pulledAt ?? 0
    }

    /// - Throws: ``RegistryError`` `.preconditionFailed` if a tag that a rule or a hold kept is gone: another one may be
    ///   among the last now.
    fileprivate func checkKept(by plan: RetentionPlan) throws {
        let kept = plan.tags.filter { !$0.verdict.keptBy.isEmpty }.map(\.facts.name)
        let there = try inBatches(kept) {
            "SELECT name FROM tag WHERE repo_id = \(plan.repo) AND name IN \(list: $0)"
        }
        guard there.count == kept.count else {
            throw RegistryError(
                .preconditionFailed,
                "A tag of \(plan.repository) that was to be kept is gone since the plan was made; make a new one."
            )
        }
    }

    fileprivate func checkPolicies(of plan: RetentionPlan) throws {
        let policies = try policies(applyingTo: plan.repository)
        guard Set(policies) == Set(plan.policies), Set(try lockHolds(in: plan.repo)) == Set(plan.holds) else {
            throw RegistryError(
                .preconditionFailed,
                "The policies or the holds of \(plan.repository) have changed since the plan was made; make a new one."
            )
        }
    }
}
