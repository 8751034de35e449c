import OCI
import Testing

@testable import Retention

@Suite("A retention policy")
struct RetentionPolicyTests {
    private func problems(_ document: String) -> [String] {
        let error = #expect(throws: RetentionPolicyError.self) { try RetentionPolicy(decoding: document.utf8) }
        return error?.problems.map(\.description) ?? []
    }

    @Test("tells of all its problems at once, each with its place")
    func allProblems() {
        let found = problems(
            #"{"extra": 1, "immutable": ["a b", 3], "rules": [{"keep": "last"}, 7, {"delete": "old", "day": 1}, {}]}"#
        )
        #expect(
            found == [
                #"The key "extra" does not belong here; there are version, immutable, rules."#,
                "version: It is missing; expected 1.",
                "immutable[0]: 'a b' is not a pattern: a glob has letters, digits, '_', '.', '-', '*' and '?'; "
                    + "a regular expression stands between slashes, as in /v[0-9]+/.",
                "immutable[1]: It is a number; expected a pattern.",
                "rules[0].count: It is missing; expected a whole number from 1 to 10000.",
                "rules[0].by: It is missing; expected one of pushed, pulled, version.",
                "rules[1]: It is a number; expected an object.",
                #"rules[2]: The key "day" does not belong here; there are name, delete, days, tags."#,
                "rules[2].days: It is missing; expected a whole number from 1 to 36500.",
                "rules[3]: A rule has either 'keep' or 'delete'.",
            ]
        )
    }

    @Test("shows its problems as a list")
    func description() {
        let error = #expect(throws: RetentionPolicyError.self) { try RetentionPolicy(decoding: #"{"x": 1}"#.utf8) }
        #expect(
            error?.description == """
                The policy has 2 problems:
                  - The key "x" does not belong here; there are version, immutable, rules.
                  - version: It is missing; expected 1.
                """
        )
    }

    @Test(
        "has one spelling, which is the same policy",
        arguments: [
            #"{"version":1}"#, #" {"rules" : [], "immutable":["\u0076*", "\/a\/"], "version":1}"#,
            #"{"version":1,"rules":[{"tags":["/a\\.b/","*"],"keep":"always","name":"\"q\" \\ é \ud83d\ude00"}]}"#,
            #"""
            {"version":1,"immutable":["v*","/\\d+/"],"rules":[{"by":"version","perPlatform":true,"count":3,"keep":"last"},
            {"perPlatform":false,"by":"pulled","count":1,"keep":"last"},{"delete":"rest"},{"delete":"old","days":2},
            {"days":1,"delete":"unused","tags":["a"]},{"days":36500,"delete":"untagged"},{"keep":"untagged"}]}
            """#,
        ]
    )
    func canonical(_ document: String) throws {
        let policy = try RetentionPolicy(decoding: document.utf8)
        let again = try RetentionPolicy(decoding: policy.canonical.utf8)
        #expect(again == policy)
        #expect(again.canonical == policy.canonical)
    }

    @Test("may be as long as allowed, not one byte longer")
    func size() throws {
        let document = #"{"version": 1}"#
        let padding = String(repeating: " ", count: RetentionPolicy.maximumSize - document.utf8.count)
        #expect(try RetentionPolicy(decoding: (padding + document).utf8).rules.isEmpty)
        let problem = "The document is too long; at most 65536 bytes are accepted."
        #expect(problems(padding + document + " ") == [problem])
    }

    @Test("is as short as allowed in its canonical form too, so that what is stored can be read again")
    func canonicalSize() {
        func document(_ rules: Int) -> String {
            let patterns = Array(repeating: #""abcd""#, count: 100).joined(separator: ",")
            let rule = #"{"keep":"always","tags":[\#(patterns)]}"#
            return #"{"version":1,"rules":[\#(Array(repeating: rule, count: rules).joined(separator: ","))]}"#
        }
        #expect(document(88).utf8.count < RetentionPolicy.maximumSize)
        let problem =
            "The document is too long; at most 65536 bytes are accepted. It is kept with a space after each ':' and ','."
        #expect(problems(document(88)) == [problem])
    }

    @Test("has at most 100 rules, and 100 patterns in a list")
    func counts() throws {
        func rules(_ count: Int) -> String {
            #"{"version": 1, "rules": [\#(Array(repeating: #"{"keep": "untagged"}"#, count: count).joined(separator: ","))]}"#
        }
        func patterns(_ count: Int) -> String {
            #"{"version": 1, "immutable": [\#(Array(repeating: #""a""#, count: count).joined(separator: ","))]}"#
        }
        #expect(try RetentionPolicy(decoding: rules(100).utf8).rules.count == 100)
        #expect(problems(rules(101)) == ["rules: There are 101 rules; at most 100 are accepted."])
        #expect(try RetentionPolicy(decoding: patterns(100).utf8).immutable.count == 100)
        #expect(problems(patterns(101)) == ["immutable: Expected a list of 1 to 100 patterns."])
    }

    @Test("has names of 1 to 100 characters on one line")
    func names() throws {
        func document(_ name: String) -> String {
            #"{"version": 1, "rules": [{"name": \#(JSONValue.quoted(name)), "keep": "untagged"}]}"#
        }
        for name in ["a", String(repeating: "é", count: 100)] {
            #expect(try RetentionPolicy(decoding: document(name).utf8).rules.first?.name == name)
        }
        for name in ["", String(repeating: "a", count: 101), "a\nb", "\u{7f}", "\u{85}"] {
            #expect(problems(document(name)) == ["rules[0].name: Expected text of 1 to 100 characters on one line."])
        }
    }

    @Test("bounds what its regular expressions cost together")
    func expressions() throws {
        func document(_ count: Int) -> String {
            let patterns = Array(repeating: #""/a{998}/""#, count: count).joined(separator: ",")
            return #"{"version": 1, "immutable": [\#(patterns)]}"#
        }
        #expect(try RetentionPolicy(decoding: document(10).utf8).immutable.count == 10)
        for count in [11, 100] {
            #expect(problems(document(count)) == ["The regular expressions have more than 10000 states together."])
        }
    }

    @Test("tells of no more than 100 problems")
    func manyProblems() {
        let patterns = Array(repeating: #""!""#, count: 100).joined(separator: ",")
        #expect(problems(#"{"immutable": [\#(patterns)], "rules": 1}"#).count == 100)
    }

    @Test(
        "is not made of what is not JSON",
        arguments: [
            ("", "line 1, column 1: expected a value"), ("nul", "line 1, column 1: expected a value"),
            ("{\n \"a\": 01}", "line 2, column 7: a number does not begin with 0"),
            ("{\"a\": -}", "line 1, column 8: expected a digit"), ("{\"a\": 1.}", "line 1, column 9: expected a digit"),
            ("{\"a\": 1e}", "line 1, column 9: expected a digit"), ("{} {}", "line 1, column 4: nothing may follow"),
            ("[1 2]", "line 1, column 4: expected ',' or ']'"), ("{\"a\" 1}", "line 1, column 6: expected ':'"),
            ("{\"a\": 1", "line 1, column 8: expected ',' or '}'"), ("[\"a", "line 1, column 2: the closing quote"),
            ("[\"\\x\"]", "line 1, column 4: unknown escape"), ("[\"\\u12g4\"]", "column 5: expected four hexadecimal"),
            ("[\"\\ud800\"]", "half of a surrogate pair"), ("[\"\\ud800\\u0041\"]", "half of a surrogate pair"),
            ("[\"\\udc00\\ud800\"]", "half of a surrogate pair"), ("[\"\u{1}\"]", "a control character"),
            (String(repeating: "[", count: 20_000), "nested too deeply"), ("\u{feff}{}", "expected a value"),
        ]
    )
    func notJSON(_ document: String, _ reason: String) {
        let found = problems(document)
        #expect(found.count == 1)
        #expect(found.first?.contains(reason) == true, "\(found)")
    }

    @Test("is UTF-8")
    func encoding() {
        let document =
            Array(#"{"version": 1, "rules": [{"keep": "always", "name": ""#.utf8) + [0xff] + Array(#""}]}"#.utf8)
        let error = #expect(throws: RetentionPolicyError.self) { try RetentionPolicy(decoding: document) }
        #expect(error?.description.contains("column 53: the text is not UTF-8") == true)
    }

    @Test(
        "takes whole numbers only",
        arguments: ["-1", "0", "1.0", "1e1", "36501", "9223372036854775808", "true", "null", "[1]"]
    )
    func numbers(_ number: String) {
        #expect(
            problems(#"{"version": 1, "rules": [{"delete": "old", "days": \#(number)}]}"#)
                == ["rules[0].days: Expected a whole number from 1 to 36500."]
        )
    }
}
