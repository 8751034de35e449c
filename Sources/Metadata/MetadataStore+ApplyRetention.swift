package import OCI
import Retention
import SQLStore

extension MetadataStore {
    /// Deletes what a plan says, except what has changed since: a tag that was pushed, moved or pulled.
    ///
    /// - Throws: ``RegistryError`` `.preconditionFailed` if the policies or the holds are others by now, or a tag is gone
    ///   that was among the last. What was deleted before stays deleted.
    package func apply(_ plan: RetentionPlan, cause: String) async throws -> RetentionRun {
        var work = RetentionWork(plan, cause: cause)
        while try await advance(&work) {}
        return work.run
    }

    /// Does the next batch of the same work, in a transaction of its own.
    ///
    /// - Returns: whether there was one.
    /// - Throws: as ``apply(_:cause:)``.
    package func advance(_ work: inout RetentionWork) async throws -> Bool {
        guard let batch = work.batches.last else { return false }
        switch batch {
        case .tags(let tags):
            let before = work.run.tags
            work.run = try await drop(tags, work)
            if work.run.tags - before < tags.count { work.isWhole = false }
        case .manifests(let ids): work.run = try await letGo(of: ids, work)
        case .announcements(let tags): try await announce(tags, in: work.plan.repo)
        }
        work.batches.removeLast()
        return true
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

    private func drop(_ tags: [RetentionPlan.TagPlan], _ work: RetentionWork) async throws -> RetentionRun {
        let plan = work.plan
        let window = promises.window
        let keepsUntagged = RetentionEvaluator(policies: plan.policies, holds: []).keepsUntagged
        let policyLock = database.dialect.tableLock("retention_policy")
        return try await database.write { db in
            // Tags before manifests, and both in the order of their names, as pushes lock them.
            let locked = try tags.filter { try db.lockUnchanged($0, in: plan.repo) }
            var manifests: [Digest: Int64] = [:]
            for tag in locked {
                manifests[tag.facts.digest] = tag.manifest
                if let subject = tag.facts.subject { manifests[subject] = tag.subject }
            }
            // Against pushes that name them: whoever comes later sees what is said of them here.
            let there = try manifests.sorted { $0.key < $1.key }.filter { _, id in
                try !db.run("SELECT id FROM manifest WHERE id = \(id) \(lock: .update)").isEmpty
            }.map(\.value)
            // Whoever writes down a pull holds what was pulled.
            let unchanged = try locked.filter { try $0.subject != nil || !db.wasPulled($0, in: plan.repo) }
            // A policy that is set meanwhile waits: what it says holds for all that is deleted after it was answered.
            for statement in policyLock { try db.run(statement) }
            try db.checkPolicies(of: work)
            try db.checkPlaces(of: work)
            let dropped = try unchanged.filter { try !db.mustStay($0, beside: there, in: plan.repo) }
            for tag in dropped {
                let rows = try db.run(
                    """
                    DELETE FROM tag WHERE repo_id = \(plan.repo) AND name = \(tag.facts.name)
                    RETURNING repo_id, name, updated_at
                    """
                )
                let reason = tag.verdict.deletedBy.joined(separator: ", ")
                try db.remember(rows, of: tag.facts.digest, keepingFor: window, reason: reason)
            }
            for (_, tags) in Dictionary(grouping: dropped, by: \.facts.digest).sorted(by: { $0.key < $1.key }) {
                let id = tags[0].manifest
                try db.release(manifest: id, keepingFor: window)
                if try !keepsUntagged && !db.isNamed(manifest: id) {
                    let reason = tags[0].verdict.deletedBy.joined(separator: ", ")
                    for row in try db.run("SELECT keep_until, created_at FROM manifest WHERE id = \(id)") {
                        // The clock of the database may have been set back since the push.
                        let sentence = Sentence(reason: reason, since: max(db.now, row.int(1)))
                        try db.hint(.condemned, [(id, row.int(0))], sentence)
                    }
                }
            }
            return try db.note(work, tags: dropped.count, isWhole: dropped.count == tags.count)
        }
    }

    private func letGo(of manifests: [Int64], _ work: RetentionWork) async throws -> RetentionRun {
        try await database.write { db in
            // The collector asks the policies itself.
            try db.hint(.manifest, manifests, dueIn: 0)
            return try db.note(work, manifests: manifests.count)
        }
    }

    private func announce(_ tags: [(tag: RetentionPlan.TagPlan, expiresAt: Int64?)], in repo: Int64) async throws {
        try await database.write { db in
            for (tag, expiresAt) in tags {
                try db.run(
                    """
                    UPDATE tag SET expires_at = \(optional: expiresAt) WHERE repo_id = \(repo)
                    AND name = \(tag.facts.name) AND updated_at = \(tag.facts.pushedAt)
                    """
                )
            }
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

    /// Whether a tag that follows others has one left to follow, or one that followed none has now. A manifest that is gone, or
    /// has another row, is not the one that the plan judged: the next one does.
    ///
    /// - Parameter there: the manifests that are there of those that the tags name or follow, locked.
    fileprivate func mustStay(_ tag: RetentionPlan.TagPlan, beside there: [Int64], in repo: Int64) throws -> Bool {
        guard let subject = tag.subject else { return try follows(tag, in: repo) }
        guard there.contains(subject) else { return true }
        return try !run("SELECT 1 FROM tag WHERE manifest_id = \(subject) LIMIT 1").isEmpty
    }

    /// Whether the manifest is there by now that a tag, which was judged by itself, is about by its name.
    private func follows(_ tag: RetentionPlan.TagPlan, in repo: Int64) throws -> Bool {
        guard let subject = tag.facts.name.subject, subject != tag.facts.digest else { return false }
        return try subjects(of: [tag.facts.name], in: repo)[subject] != nil
    }

    fileprivate func wasPulled(_ tag: RetentionPlan.TagPlan, in repo: Int64) throws -> Bool {
        let references = [tag.facts.name.text, "\(tag.facts.digest)"]
        let last = try run(
            "SELECT max(last_at) FROM pull_stat WHERE repo_id = \(repo) AND reference IN \(list: references)"
        ).first?.optionalInt(0)
        return last ?? 0 > tag.facts.pulledAt ?? 0
    }

    /// Others than the last tags have no part in what becomes of a tag. Rules that keep the last ones count on those that they
    /// keep: only if one of these is gone, is not counted any more or runs on another platform, another tag may have come in its
    /// place. One that was pushed or pulled again is among the last as before.
    ///
    /// - Throws: ``RegistryError`` `.preconditionFailed`.
    fileprivate func checkPlaces(of work: RetentionWork) throws {
        let (repo, kept) = (work.plan.repo, work.plan.tags.filter { $0.verdict.place != nil })
        let there = try inBatches(kept.map(\.facts.name)) {
            "SELECT name, manifest_id FROM tag WHERE repo_id = \(repo) AND name IN \(list: $0)"
        }
        let found = Dictionary(there.map { ($0.text(0), $0.int(1)) }, uniquingKeysWith: { $1 })
        for tag in kept {
            guard let manifest = found[tag.facts.name.text],
                tag.verdict.place == .tag || manifest == tag.manifest, try !follows(tag, in: repo)
            else { throw RegistryError.overtaken(work, "A tag of \(work.plan.repository) that was to be kept is gone") }
        }
    }

    fileprivate func checkPolicies(of work: RetentionWork) throws {
        let plan = work.plan
        let policies = try policies(applyingTo: plan.repository)
        guard Set(policies) == Set(plan.policies), Set(try lockHolds(in: plan.repo)) == Set(plan.holds) else {
            throw RegistryError.overtaken(work, "The policies or the holds of \(plan.repository) have changed")
        }
        guard try !run("SELECT 1 FROM repository WHERE id = \(plan.repo)").isEmpty else {
            throw RegistryError.overtaken(work, "The repository \(plan.repository) was deleted")
        }
    }

    /// Writes down what a batch deletes, in its transaction.
    ///
    /// - Parameter isWhole: whether that is all that it was to delete.
    /// - Returns: the run with it.
    fileprivate func note(
        _ work: RetentionWork,
        tags: Int = 0,
        manifests: Int = 0,
        isWhole: Bool = true
    ) throws -> RetentionRun {
        var run = work.run
        run.tags += Int64(tags)
        run.manifests += Int64(manifests)
        guard run.tags + run.manifests > 0 else { return run }
        if work.isLastDeletion && work.isWhole && isWhole { run.bytes = work.plan.freed.bytes }
        if run.id > 0 {
            try self.run(
                """
                UPDATE retention_run SET tags = \(run.tags), manifests = \(run.manifests), bytes = \(run.bytes)
                WHERE id = \(run.id)
                """
            )
        } else {
            let rows = try self.run(
                """
                INSERT INTO retention_run (repository, started_at, cause, policies, tags, manifests, bytes)
                VALUES (\(run.repository), \(run.startedAt), \(run.cause), \(run.policies.joined(separator: " ")),
                    \(run.tags), \(run.manifests), \(run.bytes))
                RETURNING id
                """
            )
            run.id = rows.first?.int(0) ?? 0
        }
        return run
    }
}

extension RegistryError {
    fileprivate static func overtaken(_ work: RetentionWork, _ what: String) -> RegistryError {
        RegistryError(
            .preconditionFailed,
            "\(what) since the plan was made. \(work.progress); make a new plan.",
            detail: ["tags": "\(work.run.tags)"]
        )
    }
}
