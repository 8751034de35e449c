import OCI
import Testing

@testable import Retention

@Suite("What docs/retention.md says")
struct RetentionDocumentTests {
    @Test("of its worked examples is what happens", arguments: WorkedExample.all)
    func examples(_ heading: String) throws {
        let example = try WorkedExample(heading)
        let outcomes = try example.outcomes()
        #expect(!outcomes.isEmpty && outcomes.count == example.tags.count + example.untagged.count)
        for outcome in outcomes { #expect(outcome.found == outcome.expected) }
    }

    @Test("has its examples")
    func isThere() { #expect(WorkedExample.all.count > 10) }

    @Test("begins with a policy that is accepted")
    func opening() throws {
        let json = RetentionDocument.lines.drop { $0 != "```json" }.dropFirst().prefix { $0 != "```" }
        let policy = try RetentionPolicy(decoding: json.joined(separator: "\n").utf8)
        #expect(policy.rules.count == 4)
        #expect(policy.canonical == json.joined(separator: "\n") + "\n", "it is shown as it would be stored")
    }

    @Test("of rules has one row for each thing that a rule can do")
    func rules() throws {
        let rows = RetentionDocument.table("## Rules").map { RetentionDocument.quoted($0[0]).joined() }
        let policy = try RetentionPolicy(decoding: #"{"version": 1, "rules": [\#(rows.joined(separator: ","))]}"#.utf8)
        #expect(
            policy.rules.map(\.action) == [
                .keepAlways, .keepLast(count: 10, by: .pushed, perPlatform: false),
                .keepLast(count: 10, by: .pulled, perPlatform: false),
                .keepLast(count: 10, by: .version, perPlatform: false),
                .keepLast(count: 10, by: .pushed, perPlatform: true), .keepUntagged, .deleteUnused(days: 90),
                .deleteOld(days: 30), .deleteRest, .deleteUntagged(days: 7),
            ]
        )
    }

    @Test("of patterns is what they match", arguments: RetentionDocument.table("## Patterns"))
    func patterns(_ row: [String]) throws {
        let pattern = try TagPattern(parsing: RetentionDocument.quoted(row[0]).joined())
        for text in RetentionDocument.quoted(row[1]) {
            #expect(pattern.matches(try Tag(parsing: text)), "\(pattern) \(text)")
        }
        for text in RetentionDocument.quoted(row[2]) {
            #expect(!pattern.matches(try Tag(parsing: text)), "\(pattern) \(text)")
        }
    }

    @Test("of versions is their order, whatever order they come in")
    func versions() throws {
        let names = RetentionDocument.table("## Versions").map { RetentionDocument.quoted($0[0]).joined() }
        #expect(names.count > 10)
        var random = SeededRandom(seed: 7)
        for count in 1...names.count {
            let tags = try names.shuffled(using: &random).map { try facts($0) }
            let kept = try kept(of: tags, by: #"{"keep": "last", "count": \#(count), "by": "version"}"#)
            #expect(kept == Set(names.prefix(count)))
        }
    }

    @Test("are no versions has no place among them")
    func noVersions() throws {
        let line = RetentionDocument.section("## Versions").drop { !$0.hasPrefix("These are no versions") }
        let names = RetentionDocument.quoted(line.joined(separator: " "))
        #expect(names.count > 10)
        for name in names { #expect(SemanticVersion(try Tag(parsing: name)) == nil, "\(name)") }
    }

    @Test(
        "is refused is refused, in these words and at this place",
        arguments: RetentionDocument.table("## What is refused")
    )
    func refusals(_ row: [String]) throws {
        let document = RetentionDocument.quoted(row[0]).joined()
        let error = #expect(throws: RetentionPolicyError.self) { try RetentionPolicy(decoding: document.utf8) }
        #expect(error?.problems == [.init(path: row[1], message: row[2])])
    }

    @Test("of limits is what they are")
    func limits() {
        let limits = [
            RetentionPolicy.maximumSize, RetentionPolicy.maximumRules, RetentionPolicy.maximumPatterns,
            TagPattern.maximumLength, RetentionPolicy.maximumNameLength, RegularExpression.maximumSize,
            RetentionPolicy.maximumExpressionSize, RetentionPolicy.maximumDays, RetentionPolicy.maximumCount,
        ]
        let documented = RetentionDocument.table("## Limits").map { Int($0[1].replacing(",", with: "")) }
        #expect(documented == limits)
    }

    @Test("of scopes is where they apply")
    func scopes() throws {
        let rows = RetentionDocument.table("## How it is decided")
        #expect(
            rows.map { RetentionDocument.quoted($0[0]).joined() } == [
                "registry", "namespace/team", "repository/team/app",
            ]
        )
        let applying = RetentionScope.applying(to: try RepositoryName(parsing: "team/tools/lint")).map(\.description)
        #expect(applying == ["registry", "namespace/team", "namespace/team/tools", "repository/team/tools/lint"])
        for name in ["team", "teams/app"] {
            let scopes = RetentionScope.applying(to: try RepositoryName(parsing: name))
            #expect(!scopes.contains(.namespace("team")))
        }
    }
}
