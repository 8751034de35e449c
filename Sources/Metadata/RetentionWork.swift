package import OCI
import Retention

/// What a run of the policies on a repository deleted.
package struct RetentionRun: Hashable, Sendable {
    /// 0 until something was deleted.
    package internal(set) var id: Int64
    package let repository: RepositoryName
    /// Milliseconds since 1970.
    package let startedAt: Int64
    /// Who began it: `schedule` or `request`.
    package let cause: String
    /// The policies that held, each as `scope@version`.
    package let policies: [String]
    package internal(set) var tags: Int64
    /// Manifests without a name that were let go of.
    package internal(set) var manifests: Int64
    /// What its plan said would be freed; 0 unless it came to its end and deleted all that it was to delete.
    package internal(set) var bytes: Int64
}

/// A plan that is being carried out, a batch at a time: ``MetadataStore/advance(_:)``.
package struct RetentionWork: Sendable {
    let plan: RetentionPlan
    /// What was deleted until now. It is written down with each batch, so that it is true whatever stops the work.
    package internal(set) var run: RetentionRun
    /// Whether nothing was left out until now because it had changed.
    var isWhole = true
    /// What is left, the last batch first.
    var batches: [Batch]

    enum Batch {
        case tags([RetentionPlan.TagPlan])
        case manifests([Int64])
        case announcements([(tag: RetentionPlan.TagPlan, expiresAt: Int64?)])
    }

    /// Most tags of a transaction, which pushes wait for on SQLite.
    private static let mostTags = 20
    private static let mostManifests = 256
    /// A day more than clients are told ahead, so that a run a day is enough. Milliseconds.
    private static let announcedAhead: Int64 = 8 * 24 * 3_600_000

    package init(_ plan: RetentionPlan, cause: String) {
        self.plan = plan
        run = RetentionRun(
            id: 0,
            repository: plan.repository,
            startedAt: plan.madeAt,
            cause: cause,
            policies: plan.policies.map(\.identity),
            tags: 0,
            manifests: 0,
            bytes: 0
        )
        let tags = plan.tags.filter { $0.verdict.decision == .delete }
        let manifests = plan.untagged.filter { $0.verdict.decision == .delete }.map(\.manifest)
        // Tags that follow others come after them; the tags of a batch are locked in the order of their names.
        let depths = Dictionary(grouping: tags, by: \.verdict.depth).sorted { $0.key < $1.key }
        batches =
            depths.flatMap { $1.chunked(by: Self.mostTags) }.map { .tags($0) }
            + manifests.chunked(by: Self.mostManifests).map { .manifests($0) }
            + Self.announcements(of: plan).chunked(by: Self.mostTags).map { .announcements($0) }
        batches.reverse()
    }

    /// When tags will go, for those who pull them, as far as that is not written down yet.
    private static func announcements(of plan: RetentionPlan) -> [(tag: RetentionPlan.TagPlan, expiresAt: Int64?)] {
        let horizon = plan.madeAt + announcedAhead
        return plan.tags.compactMap { tag in
            guard tag.verdict.decision == .keep else { return nil }
            let expiresAt = tag.verdict.deletedFrom.flatMap { $0 <= horizon ? $0 : nil }
            return expiresAt == tag.expiresAt ? nil : (tag, expiresAt)
        }
    }

    /// Whether all is deleted that is to be once the next batch is.
    var isLastDeletion: Bool {
        if case .announcements? = batches.dropLast().last { return true }
        return batches.count == 1
    }

    /// How far it came, for whoever asked for it.
    var progress: String {
        let all = plan.tags.count { $0.verdict.decision == .delete }
        return run.tags == 0 ? "Nothing was deleted" : "\(run.tags) of \(all) tags were deleted before that"
    }
}
