import OCI
import Retention
import Testing

@Suite("Retention")
struct RetentionEvaluatorTests {
    private let now: Int64 = 1_800_000_000_000

    private func verdicts(_ rules: String..., tags: [TagFacts] = [], untagged: [UntaggedManifest] = [], at time: Int64)
        throws -> Verdicts
    {
        let document = #"{"version": 1, "rules": [\#(rules.joined(separator: ","))]}"#
        let scoped = ScopedPolicy(scope: .registry, version: 1, policy: try RetentionPolicy(decoding: document.utf8))
        return RetentionEvaluator(policies: [scoped], holds: []).verdicts(tags: tags, untagged: untagged, now: time)
    }

    @Test("deletes after exactly so many days, and not a millisecond before", arguments: [1, 30, 36_500])
    func boundaries(_ days: Int) throws {
        let tags = [try facts("a", pushedAt: now, pulledAt: now - 5)]
        let untagged = [UntaggedManifest(digest: Digest(hashing: []), since: now)]
        let due = now + Int64(days) * day
        for rule in [#"{"delete": "unused", "days": \#(days)}"#, #"{"delete": "old", "days": \#(days)}"#] {
            for (time, decision) in [(due - 1, Verdict.Decision.keep), (due, .delete), (due + 1, .delete)] {
                let verdict = try verdicts(rule, tags: tags, at: time).tags[0]
                #expect(verdict.decision == decision)
                #expect(verdict.deletedFrom == due)
            }
        }
        let rule = #"{"delete": "untagged", "days": \#(days)}"#
        #expect(try verdicts(rule, untagged: untagged, at: due - 1).untagged[0].decision == .keep)
        #expect(try verdicts(rule, untagged: untagged, at: due).untagged[0].decision == .delete)
    }

    @Test("does not overflow at the ends of time", arguments: [Int64.min, .min + 1, -1, 0, .max - 1, .max])
    func endsOfTime(_ time: Int64) throws {
        let tags = [try facts("a", pushedAt: time, pulledAt: time)]
        for now in [Int64.min, 0, .max] {
            let verdict = try verdicts(#"{"delete": "unused", "days": 36500}"#, tags: tags, at: now).tags[0]
            #expect((verdict.decision == .delete) == (verdict.deletedFrom ?? .max <= now))
        }
    }

    @Test("says nothing about nothing")
    func nothing() {
        let verdicts = RetentionEvaluator(policies: [], holds: []).verdicts(tags: [], untagged: [], now: 0)
        #expect(verdicts.tags.isEmpty && verdicts.untagged.isEmpty)
    }

    @Test("keeps all tags where there are fewer than it is to keep", arguments: ["pushed", "pulled", "version"])
    func few(_ order: String) throws {
        let tags = try ["1.0.0", "2.0.0"].map { try facts($0) }
        for count in [2, 3, 10_000] {
            let rule = #"{"keep": "last", "count": \#(count), "by": "\#(order)"}"#
            #expect(try kept(of: tags, by: rule) == ["1.0.0", "2.0.0"])
        }
        #expect(try kept(of: tags, by: #"{"keep": "last", "count": 1, "by": "\#(order)"}"#) == ["2.0.0"])
    }

    @Test("counts a platform that an index lists twice once")
    func platformTwice() throws {
        let tags = [
            try facts("3", pushedAt: 3, platforms: ["linux/arm64", "linux/arm64"]),
            try facts("2", pushedAt: 2, platforms: ["linux/arm64"]), try facts("1", pushedAt: 1),
        ]
        let rule = #"{"keep": "last", "count": 2, "by": "pushed", "perPlatform": true}"#
        #expect(try kept(of: tags, by: rule) == ["1", "2", "3"])
    }

    /// Tags that name manifests and are about others, each a letter.
    private func followers(_ tags: [(name: String, digest: String, subject: String?)]) throws -> [TagFacts] {
        try tags.map { name, digest, subject in
            TagFacts(
                name: try Tag(parsing: name),
                digest: Digest(hashing: Array(digest.utf8)),
                pushedAt: 0,
                pulledAt: nil,
                platforms: [],
                subject: subject.map { Digest(hashing: Array($0.utf8)) }
            )
        }
    }

    @Test("judges a tag that is about what it names itself by itself")
    func aboutItself() throws {
        let tags = try followers([("a", "A", "A")])
        #expect(try verdicts(#"{"delete": "old", "days": 1}"#, tags: tags, at: now).tags[0].decision == .delete)
    }

    @Test("keeps tags that are about each other, whatever goes")
    func aboutEachOther() throws {
        let tags = try followers([("a", "A", "B"), ("b", "B", "A"), ("c", "C", nil), ("d", "D", "C"), ("e", "E", "D")])
        let verdicts = try verdicts(#"{"delete": "old", "days": 1}"#, tags: tags, at: now).tags
        #expect(verdicts.map(\.decision) == [.keep, .keep, .delete, .delete, .delete])
        #expect(verdicts.map(\.depth) == [0, 0, 0, 1, 2])
    }

    @Test("tells how long manifests may be untagged, and by which rule")
    func untaggedLimit() throws {
        func limit(_ rules: String...) throws -> (age: Int64, rule: String)? {
            let document = #"{"version": 1, "rules": [\#(rules.joined(separator: ","))]}"#
            let policy = try RetentionPolicy(decoding: document.utf8)
            let scoped = ScopedPolicy(scope: .namespace("team"), version: 1, policy: policy)
            return RetentionEvaluator(policies: [scoped], holds: []).untaggedLimit
        }
        let week = #"{"name": "week", "delete": "untagged", "days": 7}"#
        let month = #"{"delete": "untagged", "days": 30}"#
        #expect(try limit(#"{"delete": "old", "days": 1}"#) == nil)
        #expect(try #require(try limit(month, week)) == (7 * day, "namespace/team: week"))
        #expect(try limit(month, week, #"{"keep": "untagged"}"#) == nil)
    }

    @Test("calls rules by their scope and their name, or by what they do")
    func names() throws {
        let digest = Digest(hashing: [])
        let verdict = try verdicts(
            #"{"keep": "always", "tags": ["a*", "/b/", "c"]}"#,
            #"{"keep": "last", "count": 3, "by": "pulled", "perPlatform": true}"#,
            #"{"name": "größte", "keep": "last", "count": 3, "by": "version"}"#,
            #"{"delete": "old", "days": 1}"#,
            #"{"delete": "old", "days": 1}"#,
            #"{"delete": "unused", "days": 1, "tags": ["a?"]}"#,
            tags: [TagFacts(name: try Tag(parsing: "a1"), digest: digest, pushedAt: 0, pulledAt: nil, platforms: [])],
            at: now
        ).tags[0]
        #expect(
            verdict.keptBy == [
                "registry: keep always of a* and 2 more", "registry: keep last 3 by pulled per platform",
            ]
        )
        #expect(
            verdict.deletedBy == ["registry: delete old after 1 day", "registry: delete unused for 1 day of a?"]
        )
    }
}

@Suite("Whatever policies there are, retention")
struct RetentionPropertyTests {
    /// A small world, so that rules meet: ten tags, few times, few names.
    private struct World {
        var policies: [ScopedPolicy] = []
        var holds: [RetentionHold] = []
        var tags: [TagFacts] = []
        var untagged: [UntaggedManifest] = []
        let now: Int64 = 40 * day

        func verdicts() -> Verdicts {
            RetentionEvaluator(policies: policies, holds: holds).verdicts(tags: tags, untagged: untagged, now: now)
        }

        func verdicts(at time: Int64) -> Verdicts {
            RetentionEvaluator(policies: policies, holds: holds).verdicts(tags: tags, untagged: untagged, now: time)
        }
    }

    private static let patterns = ["", "v*", "/v[0-9.]+/", "latest", "?*-rc", "/(main|pr)-\\d/"]
    private static let names = [
        "v1.0.0", "v1.1.0", "1.1.0", "v2.0.0-rc", "latest", "main-1", "main-2", "pr-1", "pr-2", "x-rc", "sig-1",
        "sig-2",
    ]

    private func rule(_ random: inout SeededRandom) -> String {
        let pattern = Self.patterns.randomElement(using: &random) ?? ""
        let tags = pattern.isEmpty ? "" : #", "tags": [\#(JSON.quoted(pattern))]"#
        let days = Int.random(in: 1...50, using: &random)
        let order = ["pushed", "pulled", "version"].randomElement(using: &random) ?? ""
        let count = Int.random(in: 1...4, using: &random)
        return switch Int.random(in: 0..<8, using: &random) {
        case 0: #"{"keep": "always"\#(tags)}"#
        case 1, 2: #"{"keep": "last", "count": \#(count), "by": "\#(order)"\#(tags)}"#
        case 3: #"{"keep": "last", "count": \#(count), "by": "\#(order)", "perPlatform": true\#(tags)}"#
        case 4: #"{"delete": "unused", "days": \#(days)\#(tags)}"#
        case 5: #"{"delete": "old", "days": \#(days)\#(tags)}"#
        case 6: #"{"delete": "untagged", "days": \#(days)}"#
        default: #"{"delete": "rest"\#(tags)}"#
        }
    }

    private func world(_ seed: UInt64) throws -> World {
        var random = SeededRandom(seed: seed)
        var world = World()
        for scope in RetentionScope.applying(to: try RepositoryName(parsing: "team/app")) {
            // The last rule allows for a rest.
            let rules =
                (0..<Int.random(in: 0...4, using: &random)).map { _ in rule(&random) }
                + [#"{"keep": "always", "tags": ["none"]}"#]
            let document = #"{"version": 1, "rules": [\#(rules.joined(separator: ","))]}"#
            let policy = try RetentionPolicy(decoding: document.utf8)
            world.policies.append(ScopedPolicy(scope: scope, version: 1, policy: policy))
        }
        let digests = (UInt8(0)..<4).map { Digest(hashing: [$0]) }
        for name in Self.names {
            world.tags.append(
                TagFacts(
                    name: try Tag(parsing: name),
                    digest: digests.randomElement(using: &random) ?? digests[0],
                    pushedAt: Int64.random(in: 0...8, using: &random) * 5 * day,
                    pulledAt: Bool.random(using: &random) ? Int64.random(in: 0...40, using: &random) * day : nil,
                    platforms: [nil, [], ["linux/amd64"], ["linux/arm64"], ["linux/amd64", "linux/arm64"]]
                        .randomElement(using: &random) ?? nil,
                    subject: name.hasPrefix("sig") ? digests.randomElement(using: &random) : nil
                )
            )
        }
        world.untagged = digests.map {
            UntaggedManifest(digest: $0, since: Int64.random(in: 0...40, using: &random) * day)
        }
        if Bool.random(using: &random) {
            world.holds.append(RetentionHold(kind: .legal, subject: .digest(digests[0]), reason: "case"))
            world.holds.append(
                RetentionHold(kind: .inUse, subject: .tags(try TagPattern(parsing: "pr-?")), reason: "live")
            )
        }
        return world
    }

    private static let seeds = UInt64(0)..<400

    @Test("decides the same in any order of policies, rules, holds, tags and manifests")
    func order() throws {
        for seed in Self.seeds {
            var world = try world(seed)
            let before = world.verdicts()
            let expected = Dictionary(uniqueKeysWithValues: zip(world.tags, before.tags))
            let expectedUntagged = Dictionary(uniqueKeysWithValues: zip(world.untagged, before.untagged))
            var random = SeededRandom(seed: ~seed)
            world.policies = try world.policies.shuffled(using: &random).map { scoped in
                // Shuffled as an author would: in the document, a rule a line.
                let lines = scoped.policy.canonical.split(separator: "\n").filter { $0.hasPrefix("    {") }
                    .map { String($0).trimmingSuffix(",") }.shuffled(using: &random)
                return ScopedPolicy(
                    scope: scoped.scope,
                    version: 1,
                    policy: try RetentionPolicy(
                        decoding: #"{"version": 1, "rules": [\#(lines.joined(separator: ","))]}"#.utf8
                    )
                )
            }
            world.holds.shuffle(using: &random)
            world.tags.shuffle(using: &random)
            world.untagged.shuffle(using: &random)
            let after = world.verdicts()
            #expect(Dictionary(uniqueKeysWithValues: zip(world.tags, after.tags)) == expected, "seed \(seed)")
            #expect(
                Dictionary(uniqueKeysWithValues: zip(world.untagged, after.untagged)) == expectedUntagged,
                "seed \(seed)"
            )
        }
    }

    @Test("deletes only what a rule deletes and nothing keeps, and says so")
    func reasons() throws {
        var decisions: Set<Verdict.Decision> = []
        for seed in Self.seeds {
            let world = try world(seed)
            let verdicts = world.verdicts()
            for verdict in verdicts.tags + verdicts.untagged {
                decisions.insert(verdict.decision)
                #expect((verdict.decision == .delete) == (verdict.keptBy.isEmpty && !verdict.deletedBy.isEmpty))
                #expect((verdict.decision == .delete) == (verdict.deletedFrom.map { $0 <= world.now } ?? false))
            }
        }
        #expect(decisions == [.keep, .delete])
    }

    @Test("never deletes more because of one more rule that keeps, or one more hold")
    func keepingMore() throws {
        for seed in Self.seeds {
            var world = try world(seed)
            let before = world.verdicts()
            var random = SeededRandom(seed: ~seed)
            var rules = [rule(&random)]
            while !rules[0].contains(#""keep""#) { rules = [rule(&random)] }
            let document = #"{"version": 1, "rules": [\#(rules[0])]}"#
            let policy = try RetentionPolicy(decoding: document.utf8)
            world.policies.append(ScopedPolicy(scope: .registry, version: 2, policy: policy))
            world.holds.append(
                RetentionHold(kind: .inUse, subject: .digest(world.untagged[1].digest), reason: "test")
            )
            let after = world.verdicts()
            for (one, other) in zip(before.tags + before.untagged, after.tags + after.untagged) {
                #expect(one.decision == .delete || other.decision == .keep, "seed \(seed)")
            }
            for (tag, verdict) in zip(world.tags, after.tags) where tag.digest == world.untagged[1].digest {
                #expect(verdict.decision == .keep)
            }
        }
    }

    @Test("deletes from the time that it foretells, and not before")
    func foretelling() throws {
        var foretold = 0
        for seed in Self.seeds {
            let world = try world(seed)
            let verdicts = world.verdicts()
            for (index, verdict) in (verdicts.tags + verdicts.untagged).enumerated() {
                func decision(at time: Int64) -> Verdict.Decision {
                    let verdicts = world.verdicts(at: time)
                    return (verdicts.tags + verdicts.untagged)[index].decision
                }
                guard let from = verdict.deletedFrom else {
                    #expect(decision(at: .max) == .keep)
                    continue
                }
                guard from > world.now else { continue }
                foretold += 1
                #expect(decision(at: from) == .delete && decision(at: from - 1) == .keep, "seed \(seed)")
            }
        }
        #expect(foretold > 100)
    }
}

extension String {
    fileprivate func trimmingSuffix(_ suffix: String) -> String {
        hasSuffix(suffix) ? String(dropLast(suffix.count)) : self
    }
}

private enum JSON {
    static func quoted(_ text: String) -> String { "\"" + text.replacing("\\", with: "\\\\") + "\"" }
}
