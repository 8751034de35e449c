import OCI
import Retention

/// What clients set as policies, and what it means in words of the simulation's own.
struct SimulatedPolicy: Hashable, Sendable {
    /// Patterns are names, or end with `*`.
    enum Rule: Hashable, Sendable {
        case keepAlways(of: String)
        case keepLast(Int, by: String, perPlatform: Bool, of: String)
        case deleteRest(of: String)
        case deleteUnused(of: String)
        case deleteOld(of: String)
    }

    var rules: [Rule] = []
    var immutable: [String] = []
    var deletesUntagged = false
    var keepsUntagged = false

    /// Draws a policy.
    init(_ chance: inout Chance, for plan: Plan) {
        let first = plan.tags[0].text
        let pattern = chance.pick(["*", "v*", "latest"])
        if chance.hits(700) {
            rules.append(
                chance.hits(300)
                    ? .keepAlways(of: chance.pick([first, "latest"]))
                    : .keepLast(
                        1 + chance.index(2),
                        by: chance.pick(["pushed", "pulled", "version"]),
                        perPlatform: chance.hits(300),
                        of: pattern
                    )
            )
        }
        if chance.hits(800) {
            let deletions: [Rule] = [.deleteUnused(of: pattern), .deleteOld(of: pattern)]
            rules.append(chance.pick(rules.isEmpty ? deletions : deletions + [.deleteRest(of: pattern)]))
        }
        if chance.hits(250) { immutable.append(chance.pick([first, "v*", "latest"])) }
        keepsUntagged = plan.keepsUntagged && chance.hits(300)
    }

    init() {}

    var decoded: RetentionPolicy {
        get throws {
            let untagged =
                (deletesUntagged ? [#"{"delete":"untagged","days":1}"#] : [])
                + (keepsUntagged ? [#"{"keep":"untagged"}"#] : [])
            let lists = [("immutable", immutable.map { "\"\($0)\"" }), ("rules", rules.map(\.json) + untagged)]
            let members = lists.filter { !$1.isEmpty }.map { "\"\($0)\":[\($1.joined(separator: ","))]" }
            let document = (["\"version\":1"] + members).joined(separator: ",")
            return try RetentionPolicy(decoding: "{\(document)}".utf8)
        }
    }
}

extension SimulatedPolicy.Rule {
    fileprivate var json: String {
        switch self {
        case .keepAlways(let pattern): #"{"keep":"always","tags":["\#(pattern)"]}"#
        case .keepLast(let count, let order, let perPlatform, let pattern):
            #"{"keep":"last","count":\#(count),"by":"\#(order)","perPlatform":\#(perPlatform),"tags":["\#(pattern)"]}"#
        case .deleteRest(let pattern): #"{"delete":"rest","tags":["\#(pattern)"]}"#
        case .deleteUnused(let pattern): #"{"delete":"unused","days":1,"tags":["\#(pattern)"]}"#
        case .deleteOld(let pattern): #"{"delete":"old","days":1,"tags":["\#(pattern)"]}"#
        }
    }

    fileprivate func keeps(_ tag: KnownTag, among tags: [KnownTag]) -> Bool {
        switch self {
        case .keepAlways(let pattern): return tag.matches(pattern)
        case .keepLast(let count, let order, let perPlatform, let pattern):
            guard tag.matches(pattern), let own = tag.rank(by: order) else { return false }
            let later = tags.filter { $0.matches(pattern) && $0.rank(by: order).map { $0 > own } ?? false }
            guard perPlatform else { return later.count < count }
            guard let platforms = tag.platforms else { return true }
            return platforms.contains { platform in
                later.count { $0.platforms?.contains(platform) ?? false } < count
            }
        case .deleteRest, .deleteUnused, .deleteOld: return false
        }
    }

    fileprivate func deletes(_ tag: KnownTag, at now: Int64) -> Bool {
        let day: Int64 = 24 * 3_600_000
        return switch self {
        case .deleteRest(let pattern): tag.matches(pattern)
        case .deleteUnused(let pattern): tag.matches(pattern) && tag.usedAt + day <= now
        case .deleteOld(let pattern): tag.matches(pattern) && tag.pushedAt + day <= now
        case .keepAlways, .keepLast: false
        }
    }
}

/// A tag as the witness last saw it.
struct KnownTag: Hashable {
    let name: String
    let digest: Digest
    let pushedAt: Int64
    let usedAt: Int64
    /// What has none is of a platform of its own; nil if they cannot be known.
    let platforms: Set<String>?

    /// What is later has more; nil if it has no place in this order.
    fileprivate func rank(by order: String) -> (place: Int64, name: String)? {
        let place: Int64? =
            switch order {
            case "pushed": pushedAt
            case "pulled": usedAt
            default: Content.versions.dropLast().firstIndex { $0.text == name }.map { Int64($0) }
            }
        return place.map { ($0, name) }
    }

    func matches(_ pattern: String) -> Bool {
        pattern.hasSuffix("*") ? name.hasPrefix(pattern.dropLast()) : name == pattern
    }

    /// - Parameters:
    ///   - tags: all of its repository.
    ///   - policies: those that hold together.
    func isDeleted(by policies: [SimulatedPolicy], among tags: [KnownTag], at now: Int64) -> Bool {
        let rules = policies.flatMap(\.rules)
        return !rules.contains { $0.keeps(self, among: tags) } && rules.contains { $0.deletes(self, at: now) }
    }
}

/// A hold that somebody set.
struct SimulatedHold: Hashable {
    let repository: RepositoryName
    let kind: RetentionHold.Kind
    /// A digest or a pattern.
    let subject: String

    func isOn(_ tag: KnownTag) -> Bool { subject == "\(tag.digest)" || tag.matches(subject) }
}
