import Metadata
import Retention

/// A plan in lines, one for each tag.
struct RetentionPlanText {
    let lines: [String]

    init(_ plan: RetentionPlan) {
        let tags = plan.tags.map { "\($0.facts.name): \(Self.sentence($0.verdict))" }
        let untagged = plan.untagged.map { "\($0.facts.digest) (untagged): \(Self.sentence($0.verdict))" }
        let gone = plan.tags.count { $0.verdict.decision == .delete }
        let old = plan.untagged.count { $0.verdict.decision == .delete }
        lines =
            ["Policies: " + plan.policies.map(\.identity).joined(separator: ", ")] + tags + untagged + [
                """
                \(gone) of \(plan.tags.count) tags and \(old) of \(plan.untagged.count) untagged manifests would be deleted. \
                That frees \(plan.freed.manifests) manifests and \(plan.freed.blobs) blobs, \(plan.freed.bytes) bytes.
                """
            ]
    }

    private static func sentence(_ verdict: Verdict) -> String {
        switch verdict.decision {
        case .delete: return "delete, by " + verdict.deletedBy.joined(separator: ", ")
        case .keep where !verdict.keptBy.isEmpty: return "keep, by " + verdict.keptBy.joined(separator: ", ")
        case .keep:
            return verdict.deletedFrom.map { "keep until \($0.shownAsTime)" } ?? "keep, since no rule deletes it"
        }
    }
}
