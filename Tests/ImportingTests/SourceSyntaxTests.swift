import Testing

@testable import Importing

@Suite("A challenge of a server")
struct AuthenticationChallengeTests {
    @Test("names a token server, its service and a scope that holds commas")
    func bearer() {
        let header =
            #"Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push""#
        #expect(
            AuthenticationChallenge.parse(header) == [
                AuthenticationChallenge(
                    scheme: "bearer",
                    parameters: [
                        "realm": "https://auth.example.com/token", "service": "registry",
                        "scope": "repository:a/b:pull,push",
                    ]
                )
            ]
        )
    }

    @Test("may stand beside others in one header, in any case and without quotes")
    func several() {
        let found = AuthenticationChallenge.parse(
            #"Negotiate, BASIC Realm="a \"b\", c" , charset=UTF-8, bearer realm=x"#
        )
        #expect(found.map(\.scheme) == ["negotiate", "basic", "bearer"])
        #expect(found[1].parameters == ["realm": #"a "b", c"#, "charset": "UTF-8"])
        #expect(found[2].parameters == ["realm": "x"])
    }

    @Test("is not made of nonsense", arguments: ["", ",", " , ,", "=x", "\""])
    func nonsense(_ header: String) {
        #expect(AuthenticationChallenge.parse(header).allSatisfy { $0.parameters.isEmpty })
    }
}

@Suite("An address at the source")
struct SourceURLTests {
    @Test(
        "is kept as it was written but for the server's name",
        arguments: [
            ("https://Old.Example.com", "https://old.example.com/"),
            ("https://old.example.com:443/v2/", "https://old.example.com/v2/"),
            ("HTTP://old:80?a=B%2f", "http://old/?a=B%2f"), ("http://[::1]:5000/x#y", "http://[::1]:5000/x"),
        ]
    )
    func parses(_ text: String, _ expected: String) { #expect(SourceURL(text)?.description == expected) }

    @Test("has a scheme and a host, and no user", arguments: ["", "old", "ftp://old", "https://", "https://u:p@old/"])
    func refuses(_ text: String) { #expect(SourceURL(text) == nil) }

    @Test(
        "says where a redirect leads",
        arguments: [
            ("/x?y", "https://old/x?y"), ("//cdn/x", "https://cdn/x"), ("http://cdn/x", "http://cdn/x"),
            ("x", "https://old/v2/a/x"), ("?n=1", "https://old/v2/a/b?n=1"),
        ]
    )
    func resolves(_ location: String, _ expected: String) throws {
        let base = try #require(SourceURL("https://old/v2/a/b?c=/d"))
        #expect(base.resolving(location)?.description == expected)
    }

    @Test(
        "goes on at the next page, and never at another host",
        arguments: [
            ([#"</v2/_catalog?last=b&n=2>; rel="next""#], "https://old/v2/_catalog?last=b&n=2"),
            ([#"<http://inside:5000/v2/_catalog?last=b>; rel=next"#], "https://old/v2/_catalog?last=b"),
            ([#"</first>; rel="prev", </second>; rel="next""#], "https://old/second"),
            ([#"</first>; rel="prev""#], nil), ([], nil), (["nonsense"], nil), ([#"><; rel="next""#], nil),
        ] as [([String], String?)]
    )
    func pages(_ links: [String], _ expected: String?) throws {
        let base = try #require(SourceURL("https://old/v2/_catalog"))
        #expect(base.next(links)?.description == expected)
    }

    @Test("is of one origin with another only if scheme, host and port are the same")
    func origins() throws {
        let home = try #require(SourceURL("https://old/v2/"))
        let places = ["https://old:443/x", "http://old/x", "https://old:8443/x", "https://cdn/x"].map { SourceURL($0) }
        #expect(places.compactMap { $0?.hasSameOrigin(as: home) } == [true, false, false, false])
    }
}

@Suite("What the source says, shown to people")
struct PrintableTextTests {
    @Test(
        "is without what a terminal obeys or shows elsewhere",
        arguments: [
            ("team/app: größer, 日本, 👩‍🚒", "team/app: größer, 日本, 👩🚒"), ("\u{1B}[2J\u{9B}31m\u{7F}\u{0}", "[2J31m"),
            ("a\r\n\tb\u{2028}c", "abc"), ("\u{202E}cba\u{2066}", "cba"), ("", ""),
        ]
    )
    func printable(_ text: String, _ shown: String) { #expect(text.printable == shown) }
}
