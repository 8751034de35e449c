import OCI
import Testing

@Suite("A pattern for names")
struct GlobTests {
    @Test(
        "matches what it describes, to the end",
        arguments: [
            ("*", "", true), ("*", "team/app", true), ("team/*", "team/a/b", true), ("team/*", "steam/a", false),
            ("v?", "v1", true), ("v?", "v", false), ("v?", "v10", false), ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYb", false), ("app", "app", true), ("app", "apps", false), ("", "", true), ("", "a", false),
            ("*-rc", "1-rc-rc", true), ("**", "x", true),
        ]
    )
    func matches(_ pattern: String, _ name: String, _ expected: Bool) {
        #expect(Glob(pattern).matches(name) == expected)
    }

    @Test("is literal if it matches one name only, also where a letter's accent stands alone")
    func literal() {
        for text in ["", "app", "é"] { #expect(Glob(text).isLiteral) }
        for text in ["*", "a?", "*\u{301}"] { #expect(!Glob(text).isLiteral) }
    }

    @Test("takes no longer for many stars than their number times the name's length", .timeLimit(.minutes(1)))
    func isFast() {
        let pattern = Glob(String(repeating: "a*", count: 100) + "b")
        #expect(!pattern.matches(String(repeating: "a", count: 10_000)))
    }
}
