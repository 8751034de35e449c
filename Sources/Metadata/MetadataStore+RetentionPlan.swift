package import OCI
package import Retention
import SQLStore

/// What the policies and the holds say of everything in a repository at one moment.
package struct RetentionPlan: Sendable {
    package let repository: RepositoryName
    /// Milliseconds since 1970.
    package let madeAt: Int64
    package let policies: [ScopedPolicy]
    /// In the order of their names.
    package let tags: [TagPlan]
    /// Manifests that no tag, no index and no present subject keeps, but for those that a rule has let go of already, in the
    /// order of their digests.
    package let untagged: [UntaggedPlan]
    package let freed: Freed

    let repo: Int64
    let holds: [RetentionHold]

    package struct TagPlan: Sendable {
        package let facts: TagFacts
        package let verdict: Verdict

        let manifest: Int64
        let expiresAt: Int64?
        /// The manifest that it follows; nil for most.
        let subject: Int64?
    }

    package struct UntaggedPlan: Sendable {
        package let facts: UntaggedManifest
        package let verdict: Verdict

        let manifest: Int64
    }

    /// What goes with what is deleted: exactly what nothing else refers to, in this repository or another.
    package struct Freed: Hashable, Sendable, Encodable {
        package var manifests = 0
        package var blobs = 0
        /// Of these manifests and blobs.
        package var bytes: Int64 = 0
    }
}

extension MetadataStore {
    /// What the policies would delete in a repository now. Changes nothing that anybody sees.
    ///
    /// - Parameters:
    ///   - trial: a policy to try, in place of the one that its scope has.
    ///   - read: reads configurations that are objects, where a rule asks what images run on.
    /// - Returns: nil if no policy holds there.
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func retentionPlan(
        of repository: RepositoryName,
        trying trial: ScopedPolicy? = nil,
        reading read: @escaping ObjectReading
    ) async throws -> RetentionPlan? {
        let (window, settings) = (promises.window, database.dialect.planSettings)
        var tried: Set<UnreadConfiguration> = []
        while true {
            let known = tried
            let outcome = try await database.snapshot { db in
                for setting in settings { try db.run(setting) }
                return try db.plan(of: repository, trying: trial, window: window, withoutReading: known)
            }
            switch outcome {
            case .made(let plan): return plan
            case .lacks(let configurations):
                try await readPlatforms(of: Array(configurations), read)
                tried.formUnion(configurations)
            }
        }
    }
}

private struct TaggedManifest {
    let facts: TagFacts
    let manifest: Int64
    let expiresAt: Int64?
    let subject: Int64?
}

private enum Planning {
    case made(RetentionPlan?)
    /// What these say of platforms has to be read first.
    case lacks(Set<UnreadConfiguration>)
}

extension SQLTransaction {
    /// - Parameter tried: configurations that could not be read: what they say is not known.
    fileprivate func plan(
        of repository: RepositoryName,
        trying trial: ScopedPolicy?,
        window: Int64,
        withoutReading tried: Set<UnreadConfiguration>
    ) throws -> Planning {
        let repo = try existingRepositoryID(repository)
        var policies = try policies(applyingTo: repository)
        if let trial { policies = policies.filter { $0.scope != trial.scope } + [trial] }
        guard !policies.isEmpty else { return .made(nil) }
        let holds = try holds(in: repo)
        let countsPlatforms = policies.contains { $0.policy.rules.contains(where: \.countsPlatforms) }
        let (tagged, unread) = try taggedManifests(in: repo, withPlatforms: countsPlatforms)
        guard unread.isSubset(of: tried) else { return .lacks(unread.subtracting(tried)) }
        let evaluator = RetentionEvaluator(policies: policies, holds: holds)
        let condemned = evaluator.keepsUntagged ? [] : Set(try condemnedManifests(in: repo))
        let untagged = try untaggedManifests(in: repo, window: window).filter { !condemned.contains($0.manifest) }
        let verdicts = evaluator.verdicts(tags: tagged.map(\.facts), untagged: untagged.map(\.facts), now: now)
        let tags = zip(tagged, verdicts.tags).map {
            RetentionPlan.TagPlan(
                facts: $0.facts,
                verdict: $1,
                manifest: $0.manifest,
                expiresAt: $0.expiresAt,
                subject: $0.subject
            )
        }
        let others = zip(untagged, verdicts.untagged).map {
            RetentionPlan.UntaggedPlan(facts: $0.facts, verdict: $1, manifest: $0.manifest)
        }
        let plan = RetentionPlan(
            repository: repository,
            madeAt: now,
            policies: policies,
            tags: tags,
            untagged: others,
            // Where manifests without a name stay, no tag takes anything with it.
            freed: evaluator.keepsUntagged
                ? RetentionPlan.Freed()
                : try freed(
                    byDropping: tags.filter { $0.verdict.decision == .delete }.map(\.manifest),
                    and: others.filter { $0.verdict.decision == .delete }.map(\.manifest),
                    after: condemned,
                    in: repo
                ),
            repo: repo,
            holds: holds
        )
        return .made(plan)
    }
}

extension SQLTransaction {
    fileprivate func taggedManifests(
        in repo: Int64,
        withPlatforms: Bool
    ) throws -> ([TaggedManifest], unread: Set<UnreadConfiguration>) {
        let rows = try run(
            """
            SELECT t.name, m.digest, t.updated_at, p.last_at, m.id, t.expires_at FROM tag t
            JOIN manifest m ON m.id = t.manifest_id
            LEFT JOIN pull_stat p ON p.repo_id = t.repo_id AND p.reference = t.name
            WHERE t.repo_id = \(repo) ORDER BY t.name
            """
        )
        // Clients resolve a tag and pull what it names by its digest.
        let digests = Set(rows.map { $0.digest(1) }).sorted()
        let pulls = try inBatches(digests.map { "\($0)" }) {
            "SELECT reference, last_at FROM pull_stat WHERE repo_id = \(repo) AND reference IN \(list: $0)"
        }
        let pulled = Dictionary(pulls.map { ($0.text(0), $0.int(1)) }, uniquingKeysWith: max)
        let ids = withPlatforms ? Set(rows.map { $0.int(4) }).sorted() : []
        let (platforms, unread) = try platforms(ofManifests: ids)
        let names = try rows.map { try Tag(parsing: $0.text(0)) }
        let subjects = try subjects(of: names, in: repo)
        let tagged = zip(names, rows).map { name, row in
            let digest = row.digest(1)
            let subject = name.subject.flatMap { subjects[$0] }
            return TaggedManifest(
                facts: TagFacts(
                    name: name,
                    digest: digest,
                    pushedAt: row.int(2),
                    pulledAt: [row.optionalInt(3), pulled["\(digest)"]].compactMap(\.self).max(),
                    platforms: platforms[row.int(4)],
                    subject: subject == nil ? nil : name.subject
                ),
                manifest: row.int(4),
                expiresAt: row.optionalInt(5),
                subject: subject
            )
        }
        return (tagged, unread)
    }

    /// The manifests that are there of those that tags are about by their names.
    func subjects(of tags: [Tag], in repo: Int64) throws -> [Digest: Int64] {
        let rows = try inBatches(Set(tags.compactMap(\.subject)).sorted()) {
            "SELECT digest, id FROM manifest WHERE repo_id = \(repo) AND digest IN \(list: $0)"
        }
        return Dictionary(rows.map { ($0.digest(0), $0.int(1)) }, uniquingKeysWith: { $1 })
    }

    fileprivate func untaggedManifests(
        in repo: Int64,
        window: Int64
    ) throws -> [(facts: UntaggedManifest, manifest: Int64)] {
        try run(
            """
            SELECT m.id, m.digest, m.created_at, m.keep_until FROM manifest m WHERE m.repo_id = \(repo)
            AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id)
            AND NOT EXISTS (SELECT 1 FROM manifest_child c WHERE c.child_id = m.id)
            AND (m.subject IS NULL
                OR NOT EXISTS (SELECT 1 FROM manifest s WHERE s.repo_id = m.repo_id AND s.digest = m.subject
                    AND \(word: .isNotPartOfM)))
            ORDER BY m.digest
            """
        ).map {
            // Every promise and every name that it lost has put keep_until a window ahead, or further.
            (UntaggedManifest(digest: $0.digest(1), since: max($0.int(2), $0.int(3) - window)), $0.int(0))
        }
    }
}
