import OCI

/// What becomes of one tag or untagged manifest, and why.
package struct Verdict: Hashable, Sendable {
    package enum Decision: String, Hashable, Sendable { case keep, delete }

    package let decision: Decision
    /// The rules and holds that keep it, sorted.
    package let keptBy: [String]
    /// The rules that would delete it now if nothing kept it, sorted.
    package let deletedBy: [String]
    /// The earliest time, in milliseconds since 1970, from which a rule deletes it if nothing changes but the time. Nil if
    /// none ever does.
    package let deletedFrom: Int64?
    /// Nil if no rule keeps it as one of the last.
    package let place: Place?
    /// 0, or after how many others it is said of a tag that follows others: one more than those of what it follows.
    package let depth: Int

    /// What a tag is counted as by rules that keep the last tags: should it go, another one may be among the last.
    package enum Place: Hashable, Sendable {
        case tag
        /// The same should it move, to what runs on another platform.
        case tagOfPlatforms
    }
}

/// The verdicts on what ``RetentionEvaluator`` was asked about, in the same order.
package struct Verdicts: Hashable, Sendable {
    package let tags: [Verdict]
    package let untagged: [Verdict]
}

/// Decides about the content of one repository. Every rule that keeps is asked, then every rule that deletes; so their
/// order means nothing, and whatever one rule or hold keeps is kept.
package struct RetentionEvaluator: Sendable {
    private let rules: [(id: String, rule: RetentionRule)]
    private let holds: [RetentionHold]

    /// - Parameters:
    ///   - policies: those of every scope that applies to the repository.
    ///   - holds: those of the repository.
    package init(policies: [ScopedPolicy], holds: [RetentionHold]) {
        rules = policies.flatMap { scoped in scoped.policy.rules.map { (id: "\(scoped.scope): \($0.title)", rule: $0) }
        }
        self.holds = holds
    }

    /// - Parameters:
    ///   - tags: all tags of the repository: the last ones are counted among them.
    ///   - now: in milliseconds since 1970.
    package func verdicts(tags: [TagFacts], untagged: [UntaggedManifest], now: Int64) -> Verdicts {
        let kept = keepers(of: tags)
        return Verdicts(
            tags: following(zip(tags, kept).map { verdict(on: $0, kept: $1, now: now) }, tags),
            untagged: untagged.map { verdict(on: $0, now: now) }
        )
    }

    /// How long a manifest may be untagged, in milliseconds, and the rule that says so; nil if for ever. Holds are beyond
    /// it.
    package var untaggedLimit: (age: Int64, rule: String)? {
        guard !keepsUntagged else { return nil }
        let limits = rules.compactMap { id, rule -> (age: Int64, rule: String)? in
            if case .deleteUntagged(let days) = rule.action { (Int64(0).adding(days: days), id) } else { nil }
        }
        return limits.min { ($0.age, $0.rule) < ($1.age, $1.rule) }
    }

    /// Whether manifests without a name stay, also those that a rule took the last tag from.
    package var keepsUntagged: Bool { rules.contains { $0.rule.action == .keepUntagged } }

    private struct Keepers {
        var ids: Set<String>
        var place: Verdict.Place?
    }

    private func keepers(of tags: [TagFacts]) -> [Keepers] {
        var keepers = tags.map { tag in Keepers(ids: Set(holds.filter { $0.keeps(tag) }.map(\.description))) }
        for (id, rule) in rules {
            for index in rule.kept(of: tags) {
                keepers[index].ids.insert(id)
                if case .keepLast(_, _, let perPlatform) = rule.action, keepers[index].place != .tagOfPlatforms {
                    keepers[index].place = perPlatform ? .tagOfPlatforms : .tag
                }
            }
        }
        return keepers
    }

    private func verdict(on tag: TagFacts, kept: Keepers, now: Int64) -> Verdict {
        let deletions = rules.compactMap { id, rule in
            rule.deletion(of: tag, isKept: !kept.ids.isEmpty, now: now).map { (id: id, from: $0) }
        }
        return Verdict(keptBy: kept.ids, place: kept.place, deletions: deletions, now: now)
    }

    /// Tags that are about a manifest by their names go with its last tag: of all verdicts on its tags they get that of the one
    /// that stays longest. Where it has no tag they stay, for it is still there.
    ///
    /// - Parameter verdicts: what rules and holds say of each tag itself.
    private func following(_ verdicts: [Verdict], _ tags: [TagFacts]) -> [Verdict] {
        let named = Dictionary(grouping: tags.indices, by: { tags[$0].digest })
        var verdicts = verdicts
        var open = Set(tags.indices.filter { tags[$0].subject != nil && verdicts[$0].keptBy.isEmpty })
        for depth in 1...Self.greatestDepth {
            var settled: [(index: Int, verdict: Verdict)] = []
            for (subject, followers) in Dictionary(grouping: open, by: { tags[$0].subject }) {
                let names = subject.flatMap { named[$0] } ?? []
                guard open.isDisjoint(with: names) else { continue }
                let stays = names.filter { verdicts[$0].deletedFrom == nil }
                let last = (stays.isEmpty ? names : stays).max { one, other in
                    (verdicts[one].deletedFrom ?? 0, tags[one].name.text)
                        < (verdicts[other].deletedFrom ?? 0, tags[other].name.text)
                }
                guard let last else { continue }
                let verdict = Verdict(following: verdicts[last], depth: depth)
                settled += followers.map { ($0, verdict) }
            }
            for (index, verdict) in settled { verdicts[index] = verdict }
            open.subtract(settled.map(\.index))
        }
        // Those in a circle, or of a chain longer than anybody makes, stay.
        return verdicts
    }

    /// A signature is 1, a signature of it 2.
    private static let greatestDepth = 4

    private func verdict(on manifest: UntaggedManifest, now: Int64) -> Verdict {
        var keptBy = Set(holds.filter { $0.keeps(manifest) }.map(\.description))
        for (id, rule) in rules where rule.action == .keepUntagged { keptBy.insert(id) }
        let deletions = rules.compactMap { id, rule in rule.deletion(of: manifest).map { (id: id, from: $0) } }
        return Verdict(keptBy: keptBy, deletions: deletions, now: now)
    }
}

extension Verdict {
    fileprivate init(
        keptBy: Set<String>,
        place: Place? = nil,
        deletions: [(id: String, from: Int64)],
        now: Int64
    ) {
        self.keptBy = keptBy.sorted()
        self.place = place
        depth = 0
        deletedBy = Set(deletions.filter { $0.from <= now }.map(\.id)).sorted()
        decision = keptBy.isEmpty && !deletedBy.isEmpty ? .delete : .keep
        deletedFrom = keptBy.isEmpty ? deletions.map(\.from).min() : nil
    }
}

extension Verdict {
    fileprivate init(following other: Verdict, depth: Int) {
        (decision, deletedFrom) = (other.decision, other.deletedFrom)
        (keptBy, deletedBy) = (other.keptBy, other.deletedBy)
        (place, self.depth) = (nil, depth)
    }
}

extension RetentionRule {
    /// The indices of the tags that it keeps.
    fileprivate func kept(of tags: [TagFacts]) -> [Int] {
        switch action {
        case .keepAlways: tags.indices.filter { looksAt(tags[$0]) }
        case .keepLast(let count, let order, let perPlatform):
            last(count, by: order, perPlatform: perPlatform, of: tags)
        case .keepUntagged, .deleteUnused, .deleteOld, .deleteRest, .deleteUntagged: []
        }
    }

    private func last(_ count: Int, by order: Order, perPlatform: Bool, of tags: [TagFacts]) -> [Int] {
        let ranked = order.ranked(tags.indices.filter { tags[$0].subject == nil && looksAt(tags[$0]) }, of: tags)
        guard perPlatform else { return Array(ranked.prefix(count)) }
        var taken: [String: Int] = [:]
        return ranked.filter { index in
            // It may be the last of any platform, and of which one it takes a place is not known either.
            guard let listed = tags[index].platforms else { return true }
            // Tags without a platform are a group of their own.
            let platforms = listed.isEmpty ? [""] : Set(listed)
            let isAmongTheLast = platforms.contains { taken[$0, default: 0] < count }
            for platform in platforms { taken[platform, default: 0] += 1 }
            return isAmongTheLast
        }
    }

    /// From when on it deletes the tag; nil if it never does.
    fileprivate func deletion(of tag: TagFacts, isKept: Bool, now: Int64) -> Int64? {
        guard tag.subject == nil else { return nil }
        return switch action {
        case .deleteUnused(let days) where looksAt(tag): tag.usedAt.adding(days: days)
        case .deleteOld(let days) where looksAt(tag): tag.pushedAt.adding(days: days)
        case .deleteRest where looksAt(tag) && !isKept: now
        default: nil
        }
    }

    /// From when on it deletes the manifest; nil if it never does.
    fileprivate func deletion(of manifest: UntaggedManifest) -> Int64? {
        if case .deleteUntagged(let days) = action { manifest.since.adding(days: days) } else { nil }
    }
}

extension RetentionRule.Order {
    /// The last first. Tags that are equal in this order go by their names, the greater first; tags that are no versions
    /// have no place in an order of versions.
    fileprivate func ranked(_ indices: [Int], of tags: [TagFacts]) -> [Int] {
        switch self {
        case .pushed: Self.ranked(indices.map { ($0, tags[$0].pushedAt) }, of: tags)
        case .pulled: Self.ranked(indices.map { ($0, tags[$0].usedAt) }, of: tags)
        case .version:
            Self.ranked(indices.compactMap { i in SemanticVersion(tags[i].name).map { (i, $0) } }, of: tags)
        }
    }

    private static func ranked(_ keys: [(index: Int, key: some Comparable)], of tags: [TagFacts]) -> [Int] {
        keys.sorted { one, other in
            guard one.key == other.key else { return one.key > other.key }
            return tags[other.index].name.text.utf8.lexicographicallyPrecedes(tags[one.index].name.text.utf8)
        }.map(\.index)
    }
}

extension Int64 {
    /// Past the end of time is the end of time.
    fileprivate func adding(days: Int) -> Int64 {
        let (sum, overflows) = addingReportingOverflow(Int64(days) * 24 * 60 * 60 * 1_000)
        return overflows ? .max : sum
    }
}
