import Foundation
import OCI
import Retention

/// One of the worked examples of docs/retention.md: policies, holds, what is in the repository, and what becomes of it.
struct WorkedExample {
    private(set) var policies: [ScopedPolicy] = []
    private(set) var holds: [RetentionHold] = []
    private(set) var tags: [TagFacts] = []
    private(set) var untagged: [UntaggedManifest] = []
    /// For each tag and then each untagged manifest, as it is written in the document.
    private(set) var expected: [[String]] = []
    private var manifests: [String: String] = [:]

    static let now: Int64 = 1_800_000_000_000

    static let all: [String] = RetentionDocument.section("## Worked examples").filter { $0.hasPrefix("### ") }

    struct Malformed: Error { let text: String }

    init(_ heading: String) throws {
        let lines = RetentionDocument.section(heading)
        try readPolicies(lines)
        for line in lines where line.hasPrefix("- Hold ") { try readHold(line) }
        let tables = RetentionDocument.tables(lines)
        let present = Set(tables.flatMap(\.records).compactMap { $0["manifest"] ?? $0["untagged"] }.map { digest($0) })
        for record in tables.filter({ $0.head.first == "tag" }).flatMap(\.records) {
            let name = try tag(record["tag"] ?? "")
            tags.append(
                TagFacts(
                    name: name,
                    digest: digest(record["manifest"] ?? "`Z`"),
                    pushedAt: Self.now - (try Self.milliseconds(record["pushed"] ?? "")),
                    pulledAt: try record["pulled"].flatMap {
                        $0.isEmpty ? nil : Self.now - (try Self.milliseconds($0))
                    },
                    platforms: record["platforms"] == "?"
                        ? nil : (record["platforms"] ?? "").split(separator: " ").map(String.init),
                    subject: name.subject.flatMap { present.contains($0) ? $0 : nil }
                )
            )
            expected.append(Self.expectation(record))
        }
        for record in tables.filter({ $0.head.first == "untagged" }).flatMap(\.records) {
            let since = Self.now - (try Self.milliseconds(record["since"] ?? ""))
            untagged.append(UntaggedManifest(digest: digest(record["untagged"] ?? ""), since: since))
            expected.append(Self.expectation(record))
        }
    }

    private mutating func readPolicies(_ lines: [String]) throws {
        for (index, line) in lines.enumerated() where line.hasPrefix("Policy of ") {
            let scope = try RetentionScope(parsing: RetentionDocument.quoted(line).joined())
            let json = lines[index...].drop { $0 != "```json" }.dropFirst().prefix { $0 != "```" }
            let policy = try RetentionPolicy(decoding: json.joined(separator: "\n").utf8)
            policies.append(ScopedPolicy(scope: scope, version: 1, policy: policy))
        }
    }

    /// As in: - Hold `legal` on manifest `A`: case 7
    private mutating func readHold(_ line: String) throws {
        let quoted = RetentionDocument.quoted(line)
        guard quoted.count == 2, let kind = RetentionHold.Kind(rawValue: quoted[0]) else { throw Malformed(text: line) }
        holds.append(
            RetentionHold(
                kind: kind,
                subject: line.contains("on manifest")
                    ? .digest(digest("`\(quoted[1])`")) : .tags(try TagPattern(parsing: quoted[1])),
                reason: line.components(separatedBy: "`: ").dropFirst().joined()
            )
        )
    }

    /// As in `v1`, or `sha256-A.sig` with a letter for the digest.
    private mutating func tag(_ cell: String) throws -> Tag {
        let text = RetentionDocument.quoted(cell).joined()
        guard text.hasPrefix("sha256-") else { return try Tag(parsing: text) }
        let letter = text.dropFirst("sha256-".count).prefix { $0 != "." }
        let digest = digest("`\(letter)`").description.replacing(":", with: "-")
        return try Tag(parsing: digest + text.dropFirst("sha256-".count + letter.count))
    }

    /// A manifest is named by a letter.
    private mutating func digest(_ cell: String) -> Digest {
        let name = RetentionDocument.quoted(cell).joined()
        let digest = Digest(hashing: Array(name.utf8))
        manifests[digest.description] = name
        return digest
    }

    private static func milliseconds(_ text: String) throws -> Int64 {
        let units: [String: Int64] = ["d": 86_400_000, "h": 3_600_000, "min": 60_000]
        let words = text.split(separator: " ").map(String.init)
        guard !words.isEmpty, words.count.isMultiple(of: 2) else { throw Malformed(text: text) }
        return try stride(from: 0, to: words.count, by: 2).reduce(0) { sum, index in
            guard let number = Int64(words[index]), let unit = units[words[index + 1]] else {
                throw Malformed(text: text)
            }
            return sum + number * unit
        }
    }

    private static func expectation(_ record: [String: String]) -> [String] {
        let lists = ["kept by", "deleted by"].map {
            RetentionDocument.quoted(record[$0] ?? "?").joined(separator: ", ")
        }
        return [record["verdict"] ?? "?"] + lists + [record["from"] ?? "?"]
    }

    /// The verdicts in the document's words, each beside what the document says.
    func outcomes() throws -> [(found: [String], expected: [String])] {
        let verdicts = RetentionEvaluator(policies: policies, holds: holds)
            .verdicts(tags: tags, untagged: untagged, now: Self.now)
        return zip(verdicts.tags + verdicts.untagged, expected).map { verdict, expected in
            let lists = [verdict.keptBy, verdict.deletedBy].map { named($0.joined(separator: ", ")) }
            return (["\(verdict.decision)"] + lists + [Self.from(verdict, like: expected[3])], expected)
        }
    }

    private func named(_ text: String) -> String {
        manifests.reduce(text) { $0.replacing($1.key, with: $1.value) }
    }

    /// The document's own words if they name the verdict's time.
    private static func from(_ verdict: Verdict, like text: String) -> String {
        guard let from = verdict.deletedFrom else { return "never" }
        let isSame =
            if text == "now" {
                from == now
            } else if text.hasPrefix("in "), let wait = try? milliseconds(String(text.dropFirst(3))) {
                from == now + wait
            } else if text.hasSuffix(" ago"), let age = try? milliseconds(String(text.dropLast(4))) {
                from == now - age
            } else {
                false
            }
        return isSame ? text : "\(from - now) ms from now"
    }
}
