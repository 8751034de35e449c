import Metadata

/// An explanation in sentences.
struct ExplanationText {
    let lines: [String]

    init(_ found: Explanation) {
        guard !found.isEmpty else {
            lines = ["Nothing of this digest is stored, and nothing is kept of it."]
            return
        }
        lines =
            found.manifests.flatMap(Self.manifest) + (found.blob.map(Self.blob) ?? [])
            + found.deleted.map(Self.deletion) + found.trash.map { "Its bytes are deleted at \($0.shownAsTime)." }
    }

    private static func manifest(_ found: Explanation.LiveManifest) -> [String] {
        var reasons = found.tags.map { "the tag \($0) names it" }
        reasons += found.indexes.map { "the index \($0.digest) lists it\(path(of: $0))" }
        reasons += found.subject.map { ["it is about \($0)"] } ?? []
        reasons += found.holds.map { "it is kept by the \($0)" }
        reasons.append("it is promised to clients until \(found.keepUntil.shownAsTime)")
        reasons += found.untagged.map(Self.untagged) ?? []
        return ["The repository \(found.repository) has it as a manifest:"] + reasons.map { "  - \($0)" }
    }

    private static func untagged(_ found: Explanation.Untagged) -> [String] {
        let head = "nothing has named it since \(found.since.shownAsTime)"
        guard let removedAt = found.removedAt, let bytesUntil = found.bytesUntil else {
            return ["\(head), and no rule deletes it: it stays until somebody does"]
        }
        return [
            "\(head): it is removed at \(removedAt.shownAsTime) by \(found.rule ?? "a rule")",
            "the bytes of what only it lists are gone at \(bytesUntil.shownAsTime) at the latest",
        ]
    }

    private static func blob(_ found: Explanation.LiveBlob) -> [String] {
        let head = "It is a blob of \(found.size) bytes"
        let end =
            found.bytesUntil.map { ["No manifest lists it: its bytes are gone at \($0.shownAsTime) at the latest."] }
            ?? []
        guard !found.links.isEmpty else { return ["\(head) that no repository holds any more."] + end }
        let links = found.links.flatMap { link in
            ["  - \(link.repository), promised to clients until \(link.leaseUntil.shownAsTime)"]
                + link.manifests.map { "      \($0.digest) lists it\(path(of: $0))" }
        }
        return ["\(head), held by:"] + links + (found.hasMoreLinks ? ["  - and more"] : []) + end
    }

    private static func path(of manifest: Explanation.Named) -> String {
        if !manifest.tags.isEmpty { return ", named by " + manifest.tags.joined(separator: ", ") }
        if !manifest.indexes.isEmpty { return ", listed by " + manifest.indexes.joined(separator: ", ") }
        return ", which nothing names"
    }

    private static func deletion(_ found: Explanation.Deletion) -> String {
        let subject = found.tag.map { "The tag \($0) that named it" } ?? "It"
        return "\(subject) was deleted from \(found.repository) at \(found.deletedAt.shownAsTime): \(found.reason). "
            + "It can be put back until \(found.restorableUntil.shownAsTime)."
    }
}
