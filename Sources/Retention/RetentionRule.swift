/// One rule of a policy. What each does is the table in docs/retention.md.
package struct RetentionRule: Hashable, Sendable {
    package enum Action: Hashable, Sendable {
        case keepAlways
        /// The last `count` tags, or with `perPlatform` the last `count` of each platform.
        case keepLast(count: Int, by: Order, perPlatform: Bool)
        case keepUntagged
        /// Tags that were neither pushed nor pulled for so many days.
        case deleteUnused(days: Int)
        /// Tags that were pushed so many days ago.
        case deleteOld(days: Int)
        /// Tags that no rule and no hold keeps.
        case deleteRest
        /// Manifests that have been untagged for so many days.
        case deleteUntagged(days: Int)
    }

    /// What makes a tag the last.
    package enum Order: String, Hashable, Sendable, CaseIterable { case pushed, pulled, version }

    /// Unique in its policy.
    package let name: String?
    package let action: Action
    /// The tags that it looks at; all of them if there is none.
    package let tags: [TagPattern]

    /// Whether it needs to know what tags run on.
    package var countsPlatforms: Bool { if case .keepLast(_, _, true) = action { true } else { false } }

    func looksAt(_ tag: TagFacts) -> Bool { tags.isEmpty || tags.matches(tag.name) }

    /// Its name, or what it does: never its place, since that has no meaning.
    var title: String { name ?? (tags.isEmpty ? summary : summary + " of " + tags.summary) }

    private var summary: String {
        switch action {
        case .keepAlways: "keep always"
        case .keepLast(let count, let order, let perPlatform):
            "keep last \(count) by \(order.rawValue)" + (perPlatform ? " per platform" : "")
        case .keepUntagged: "keep untagged"
        case .deleteUnused(let days): "delete unused for \(Self.text(days))"
        case .deleteOld(let days): "delete old after \(Self.text(days))"
        case .deleteRest: "delete rest"
        case .deleteUntagged(let days): "delete untagged after \(Self.text(days))"
        }
    }

    private static func text(_ days: Int) -> String { days == 1 ? "1 day" : "\(days) days" }
}
