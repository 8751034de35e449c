import Metadata

/// An explanation in sentences.
struct ExplanationText {
    private(set) var lines: [String] = []
    private let askedAt: Int64

    init(_ found: Explanation) {
        askedAt = found.askedAt
        for manifest in found.manifests {
            lines.append("The repository \(manifest.repository) has it as a manifest:")
            lines += reasons(for: manifest.manifest).map { "  - \($0)" }
        }
        if found.hasMoreManifests { lines.append("And more repositories have it as a manifest.") }
        lines += found.blob.map(blob) ?? []
        lines += found.deleted.map(deletion)
        if found.hasMoreDeleted { lines.append("And more was deleted.") }
        lines += found.trash.map { "Its bytes are deleted \(moment($0))." }
    }

    /// What keeps the manifest that was asked about.
    private func reasons(for found: Explanation.Manifest) -> [String] {
        found.tags.map { "the tag \($0) names it" } + keepers(of: found)
            + (found.keepUntil > askedAt ? ["it is promised to clients until \(found.keepUntil.shownAsTime)"] : [])
            + endings(of: found) + (found.hasMore ? ["and more"] : [])
    }

    /// Without its tags. What keeps those that keep it is indented below each.
    private func keepers(of found: Explanation.Manifest) -> [String] {
        found.indexes.flatMap { below("the index \($0.digest) lists it", $0) }
            + (found.subject.map { below("it is about \($0.digest)", $0) } ?? [])
            + found.holds.map { "it is kept by the \($0)" }
    }

    /// - Parameter line: names the manifest.
    private func below(_ line: String, _ found: Explanation.Manifest) -> [String] {
        guard found.tags.isEmpty else {
            let tags = found.tags.joined(separator: ", ") + (found.hasMore ? " and more" : "")
            return [line + ", named by " + tags + found.holds.map { ", kept by the \($0)" }.joined()]
        }
        let more = keepers(of: found) + endings(of: found) + (found.hasMore ? ["and more"] : [])
        // What is indented already is below one of these.
        return [line] + more.map { $0.hasPrefix(" ") ? "    \($0)" : "    - \($0)" }
    }

    private func endings(of found: Explanation.Manifest) -> [String] {
        let untagged = found.untagged.map { untagged in
            let head = "nothing has named it since \(untagged.since.shownAsTime)"
            guard let removedAt = untagged.removedAt, let bytesUntil = untagged.bytesUntil else {
                return ["\(head), and no rule deletes it: it stays until somebody does"]
            }
            return ["\(head): it is removed by \(untagged.rule ?? "a rule") \(moment(removedAt))", bytes(bytesUntil)]
        }
        let end = found.end.map {
            ["it goes with what keeps it: it is removed \(moment($0.removedAt))", bytes($0.bytesUntil)]
        }
        return (untagged ?? []) + (end ?? [])
    }

    private func bytes(_ time: Int64) -> String {
        "the bytes of what only it lists are gone at \(time.shownAsTime) at the latest"
    }

    /// What was due already happens as soon as it can.
    private func moment(_ time: Int64) -> String {
        time > askedAt ? "at \(time.shownAsTime)" : "as soon as the collector gets there"
    }

    private func blob(_ found: Explanation.LiveBlob) -> [String] {
        let head = "It is a blob of \(found.size) bytes"
        let end =
            found.bytesUntil.map { ["No manifest lists it: its bytes are gone at \($0.shownAsTime) at the latest."] }
            ?? []
        guard !found.links.isEmpty else { return ["\(head) that no repository holds any more."] + end }
        let links = found.links.flatMap { link in
            let lease = link.leaseUntil > askedAt ? ", promised to clients until \(link.leaseUntil.shownAsTime)" : ""
            let manifests = link.manifests.flatMap { below("\($0.digest) lists it", $0) }
            let deleted = link.deletedManifests.map {
                "\($0.digest) listed it until it was deleted at \($0.deletedAt.shownAsTime): \($0.reason)"
            }
            return ["  - \(link.repository)\(lease)"]
                + (manifests + (link.hasMoreManifests ? ["and more"] : []) + deleted).map {
                    $0.hasPrefix(" ") ? "      \($0)" : "      - \($0)"
                }
        }
        return ["\(head), held by:"] + links + (found.hasMoreLinks ? ["  - and more"] : []) + end
    }

    private func deletion(_ found: Explanation.Deletion) -> String {
        let subject = found.tag.map { "The tag \($0) that named it" } ?? "It"
        let end =
            found.restorableUntil > askedAt
            ? "until \(found.restorableUntil.shownAsTime)" : "as long as its bytes are there"
        return "\(subject) was deleted from \(found.repository) at \(found.deletedAt.shownAsTime): \(found.reason). "
            + "It can be put back \(end)."
    }
}
