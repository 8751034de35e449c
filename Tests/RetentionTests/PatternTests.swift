import OCI
import Retention
import Testing

@Suite("A pattern for tags")
struct PatternTests {
    @Test(
        "is refused when it is not one of ours",
        arguments: [
            "", "/", "//", "a/b", "/a", "a/", "a b", "{a,b}", "!a", "ä*", "/ä/", "/a b/", "/(/", "/)/", "/(a/", "/a)/",
            "/[/", "/[]/", "/[a/", "/]/", "/*/", "/+a/", "/a**/", "/a+?/", "/a{/", "/a{}/", "/a{,2}/", "/a{2,1}/",
            "/a{1001}/", "/a{99999999999999999999}/", "/{/", "/}/", "/(?i)a/", "/(?<n>a)/", "/(?!a)/", "/\\1/", "/\\b/",
            "/\\p{L}/", "/a\\/", "/[z-a]/", "/[a-\\d]/", "/[[:alpha:]]/", "/(a{100}){100}/",
            "/" + String(repeating: "(", count: 30) + String(repeating: ")", count: 30) + "/",
            String(repeating: "a", count: 257),
        ]
    )
    func refuses(_ text: String) { #expect(throws: TagPatternError.self) { try TagPattern(parsing: text) } }

    @Test(
        "is a regular expression between slashes",
        arguments: [
            ("a|b|cd", ["a", "b", "cd"], ["ab", "c", "abcd"]), ("(a|b)*", ["a", "abba"], ["abc"]),
            ("a{2}", ["aa"], ["a", "aaa"]), ("a{2,}", ["aa", "aaaa"], ["a"]), ("a{1,3}", ["a", "aaa"], ["aaaa"]),
            ("a{0}b", ["b"], ["ab"]), ("(ab){2}", ["abab"], ["ab"]), ("a.c", ["abc", "a.c"], ["ac"]),
            ("a\\.c", ["a.c"], ["abc"]), ("[a-c]+", ["abc"], ["d"]), ("[^a-c]+", ["def"], ["dea"]),
            ("[a-]+", ["a-a"], ["b"]), ("[\\d_]+", ["1_2"], ["a"]), ("x[.]", ["x."], ["xx"]),
            ("^a$|^b$", ["a", "b"], ["ab"]), ("a^b", [], ["ab", "a"]), ("a$b", [], ["ab", "a"]), ("a|", ["a"], ["b"]),
            ("(a|b|ab)*c", ["c", "ababc"], ["abab"]), ("(a?){50}(a){50}", [String(repeating: "a", count: 50)], ["a"]),
            ("((a*)*)*b", ["b", "aab"], ["aaa"]), ("(){900}a", ["a"], ["b"]), ("((){900}){900}a", ["a"], ["b"]),
        ] as [(String, [String], [String])]
    )
    func matches(_ expression: String, _ matching: [String], _ others: [String]) throws {
        let pattern = try TagPattern(parsing: "/\(expression)/")
        #expect(pattern.description == "/\(expression)/")
        for text in matching { #expect(pattern.matches(try Tag(parsing: text)), "\(text)") }
        for text in others { #expect(!pattern.matches(try Tag(parsing: text)), "\(text)") }
    }

    @Test("does not explode", .timeLimit(.minutes(1)))
    func isBounded() throws {
        let tag = try Tag(parsing: String(repeating: "a", count: 128))
        for expression in ["((a*)*)*b", "(a|a)*b", "(a|aa)+b", "(a?){128}a{128}b", "(.*){20}b", "((a+)+)+b"] {
            #expect(!(try TagPattern(parsing: "/\(expression)/").matches(tag)))
        }
    }
}

@Suite("A scope, a hold, an immutable tag")
struct RetentionValueTests {
    @Test(
        "is written as it is read",
        arguments: ["registry", "namespace/team/app", "namespace/a", "repository/team/app"]
    )
    func scopes(_ text: String) throws { #expect(try RetentionScope(parsing: text).description == text) }

    @Test(
        "is refused when it is no scope",
        arguments: [
            "", "/", "registry/", "Registry", "namespace", "namespace/", "namespace/A", "repository/a//b", "team/app",
        ]
    )
    func refusesScope(_ text: String) {
        #expect(throws: RetentionScopeError.self) { try RetentionScope(parsing: text) }
    }

    @Test("is on a digest or a pattern")
    func holds() throws {
        let digest = Digest(hashing: [])
        #expect(try RetentionHold.Subject(parsing: digest.description) == .digest(digest))
        for text in ["v*", "/(?:a)/"] {
            #expect(try RetentionHold.Subject(parsing: text) == .tags(try TagPattern(parsing: text)))
            #expect(try RetentionHold.Subject(parsing: text).description == text)
        }
        for text in ["sha256:abc", "a b", ""] {
            #expect(throws: (any Error).self) { try RetentionHold.Subject(parsing: text) }
        }
    }

    @Test("is immutable by the patterns of any policy that applies")
    func immutability() throws {
        func scoped(_ scope: String, _ patterns: String) throws -> ScopedPolicy {
            let policy = try RetentionPolicy(decoding: #"{"version": 1, "immutable": [\#(patterns)]}"#.utf8)
            return ScopedPolicy(scope: try RetentionScope(parsing: scope), version: 1, policy: policy)
        }
        let policies = [try scoped("registry", #""v*""#), try scoped("namespace/team", #""/v1.*/", "final""#)]
        for policies in [policies, policies.reversed()] {
            let immutability = Immutability(policies: policies)
            #expect(immutability.rule(for: try Tag(parsing: "v2")) == "registry: immutable v*")
            #expect(immutability.rule(for: try Tag(parsing: "v1")) == "namespace/team: immutable /v1.*/")
            #expect(immutability.rule(for: try Tag(parsing: "latest")) == nil)
        }
        #expect(Immutability(policies: []).rule(for: try Tag(parsing: "v1")) == nil)
    }
}
