import OCI
import SQLStore

// What a deletion frees is found as the collector would find it: whatever is let go of goes if nothing else keeps it, and
// lets go of what it names in turn.
extension SQLTransaction {
    /// - Parameters:
    ///   - tagged: the manifest of each tag that is dropped.
    ///   - untagged: manifests without a name that are deleted.
    ///   - condemned: what earlier deletions let go of. It keeps nothing, and was counted then.
    func freed(
        byDropping tagged: [Int64],
        and untagged: [Int64],
        after condemned: Set<Int64>,
        in repo: Int64
    ) throws -> RetentionPlan.Freed {
        let dropped = Dictionary(tagged.map { ($0, Int64(1)) }, uniquingKeysWith: +)
        let going = try manifests(goingWith: condemned, [:], after: [:], in: repo)
        let gone = try manifests(
            goingWith: Set(tagged + untagged).subtracting(going.keys),
            dropped,
            after: going,
            in: repo
        )
        var freed = RetentionPlan.Freed(manifests: gone.count, bytes: gone.values.reduce(0, +))
        // An edge is unique, so a link goes if all of its edges come from what goes.
        let (edges, others) = (try countEdges(from: gone.keys.sorted()), try countEdges(from: going.keys.sorted()))
        let links = try inBatches(edges.keys.sorted()) {
            "SELECT link_id, count(*) FROM manifest_blob WHERE link_id IN \(list: $0) GROUP BY link_id"
        }.filter { edges[$0.int(0), default: 0] + others[$0.int(0), default: 0] == $0.int(1) }.map { $0.int(0) }
        for row in try inBatches(
            links,
            {
                """
                SELECT count(*), CAST(sum(l.size) AS bigint) FROM repo_blob l WHERE l.id IN \(list: $0)
                AND NOT EXISTS (SELECT 1 FROM repo_blob o WHERE o.digest = l.digest AND o.repo_id <> \(repo)
                    AND NOT EXISTS (SELECT 1 FROM deleted_repository d WHERE d.id = o.repo_id))
                """
            }
        ) {
            freed.blobs += Int(row.int(0))
            freed.bytes += row.optionalInt(1) ?? 0
        }
        return freed
    }

    /// Those that a rule let go of and that are not removed yet, unless they were pushed again since.
    func condemnedManifests(in repo: Int64) throws -> [Int64] {
        try run(
            """
            SELECT DISTINCT m.id FROM gc_hint h JOIN manifest m ON m.id = h.ref
            WHERE h.kind = 4 AND m.repo_id = \(repo) AND m.created_at <= h.since
            """
        ).map { $0.int(0) }
    }

    /// How many of a link's edges come from these manifests.
    private func countEdges(from manifests: [Int64]) throws -> [Int64: Int64] {
        var edges: [Int64: Int64] = [:]
        for row in try inBatches(
            manifests,
            { "SELECT link_id, count(*) FROM manifest_blob WHERE manifest_id IN \(list: $0) GROUP BY link_id" }
        ) { edges[row.int(0), default: 0] += row.int(1) }
        return edges
    }

    /// - Parameter before: what goes anyway.
    /// - Returns: the bytes of each manifest that goes with these.
    private func manifests(
        goingWith first: Set<Int64>,
        _ dropped: [Int64: Int64],
        after before: [Int64: Int64],
        in repo: Int64
    ) throws -> [Int64: Int64] {
        let held = Set(try run("SELECT subject FROM retention_hold WHERE repo_id = \(repo)").map { $0.text(0) })
        var gone: [Int64: Int64] = [:]
        var waiting = first
        while !waiting.isEmpty {
            let ids = waiting.sorted()
            let kept = try kept(ids, dropped) { gone[$0] != nil || before[$0] != nil }
            let rows = try inBatches(ids) { "SELECT id, digest, length(payload) FROM manifest WHERE id IN \(list: $0)" }
            let going = rows.filter { !kept.contains($0.int(0)) && !held.contains("\($0.digest(1))") }
            for row in going { gone[row.int(0)] = row.int(2) }
            let children = try inBatches(going.map { $0.int(0) }) {
                "SELECT DISTINCT child_id FROM manifest_child WHERE parent_id IN \(list: $0) AND child_id IS NOT NULL"
            }
            let referrers = try inBatches(going.map { $0.digest(1) }) {
                "SELECT id FROM manifest WHERE repo_id = \(repo) AND subject IN \(list: $0)"
            }
            let others = (children + referrers).map { $0.int(0) }
            waiting = Set(others.filter { gone[$0] == nil && before[$0] == nil })
        }
        return gone
    }

    /// Those of these manifests that a tag, an index or a subject keeps.
    private func kept(
        _ ids: [Int64],
        _ dropped: [Int64: Int64],
        unless isGone: (Int64) -> Bool
    ) throws -> Set<Int64> {
        let tags = try inBatches(ids) {
            "SELECT manifest_id, count(*) FROM tag WHERE manifest_id IN \(list: $0) GROUP BY manifest_id"
        }.filter { $0.int(1) > dropped[$0.int(0)] ?? 0 }
        let parents = try inBatches(ids) {
            "SELECT child_id, parent_id FROM manifest_child WHERE child_id IN \(list: $0)"
        }.filter { !isGone($0.int(1)) }
        let subjects = try inBatches(ids) {
            """
            SELECT m.id, s.id FROM manifest m JOIN manifest s ON s.repo_id = m.repo_id AND s.digest = m.subject
            WHERE m.id IN \(list: $0) AND \(word: .isNotPartOfM)
            """
        }.filter { !isGone($0.int(1)) }
        return Set((tags + parents + subjects).map { $0.int(0) })
    }
}
