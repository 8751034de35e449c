import HTTPSyntax
import Testing

@testable import HTTPAPI

@Suite("Distribution API routes")
struct RegistryRouteTests {
    @Test(
        "find the reference at the right end, whatever the name holds",
        arguments: [
            ("/v2", RegistryRoute.base), ("/v2/", .base), ("/v2/_catalog", .catalog),
            ("/v2/_oci/ext/discover", .extensions),
            ("/v2/a/manifests/v1", .manifest(repository: "a", reference: "v1")),
            ("/v2/manifests/manifests/manifests", .manifest(repository: "manifests", reference: "manifests")),
            ("/v2/a/blobs/uploads/", .uploads(repository: "a")), ("/v2/a/blobs/uploads", .uploads(repository: "a")),
            ("/v2/a/blobs/uploads/x", .upload(repository: "a", id: "x")),
            ("/v2/a/b/blobs/sha256:0", .blob(repository: "a/b", digest: "sha256:0")),
            ("/v2/blobs/uploads/tags/list", .tags(repository: "blobs/uploads")),
            ("/v2/a/referrers/d", .referrers(repository: "a", digest: "d")),
        ]
    )
    func finds(_ path: String, _ route: RegistryRoute) {
        #expect(RegistryRoute(path: path) == route)
    }

    @Test(
        "refuse what is none",
        arguments: ["/", "/v1/", "/v2x", "/v2/a", "/v2/a/tags", "/v2/tags/list", "/v2/manifests/x"]
    )
    func refuses(_ path: String) {
        #expect(RegistryRoute(path: path) == nil)
    }
}

@Suite("Range")
struct ByteRangeTests {
    @Test(
        "asks for part of 10 bytes as RFC 9110 says",
        arguments: [
            (nil, ByteRange.whole), ("bytes=0-0", .part(0..<1)), ("bytes=2-5", .part(2..<6)),
            ("bytes=5-", .part(5..<10)),
            ("bytes=-3", .part(7..<10)), ("bytes=-99", .part(0..<10)), ("bytes=0-99", .part(0..<10)),
            ("bytes=9-99999999999999999999", .part(9..<10)), ("bytes=10-", .unsatisfiable),
            ("bytes=-0", .unsatisfiable),
            ("bytes=5-2", .whole), ("bytes=0-1,3-4", .whole), ("lines=0-1", .whole), ("bytes=x-", .whole),
            ("bytes=-", .whole), ("bytes", .whole), ("", .whole), ("bytes=+1-2", .whole), ("BYTES = 0-1", .part(0..<2)),
        ]
    )
    func parses(_ header: String?, _ range: ByteRange) {
        #expect(ByteRange(header, size: 10) == range)
    }

    @Test("of empty content is never satisfiable", arguments: ["bytes=0-", "bytes=0-0", "bytes=-1"])
    func empty(_ header: String) {
        #expect(ByteRange(header, size: 0) == .unsatisfiable)
    }
}

@Suite("Content-Range of a chunk")
struct ContentRangeTests {
    @Test("is first-last, with what RFC 9110 puts around it", arguments: ["0-9", "bytes 0-9/10", " 0-9 ", "bytes=0-9"])
    func accepts(_ text: String) {
        #expect(ContentRange.parse(text) == 0...9)
    }

    @Test("is refused otherwise", arguments: ["", "0", "9-0", "a-b", "0-", "-9", "0-9-10", "--"])
    func refuses(_ text: String) {
        #expect(ContentRange.parse(text) == nil)
    }
}

@Suite("Percent-encoding")
struct PercentEncodingTests {
    @Test(
        "hides all that means something in a query, and comes back",
        arguments: ["", "a-Z_0.~", "a/b:pull,push", "é +%&=#\n\0"]
    )
    func comesBack(_ text: String) {
        let encoded = percentEncoded(text)
        #expect(encoded.utf8.allSatisfy { !"/:, +&=#\n\0".utf8.contains($0) && $0 < 128 })
        #expect(percentDecoded(Substring(encoded), plusIsSpace: true) == text)
    }

    @Test("is undone once", arguments: [("a%2Fb", "a/b"), ("%25%32", "%2"), ("a+b", "a+b"), ("%C3%A4", "ä")])
    func decodes(_ text: String, _ expected: String) {
        #expect(percentDecoded(Substring(text), plusIsSpace: false) == expected)
    }

    @Test("of what is no text leaves a parameter out", arguments: ["a%00", "%ff", "%2"])
    func leavesOut(_ text: String) {
        #expect(QueryParameters("last=\(text)&n=1").items.map(\.name) == ["n"])
    }

    @Test("that is broken is refused", arguments: ["%", "%2", "%zz", "%+1", "%ff"])
    func refuses(_ text: String) {
        #expect(percentDecoded(Substring(text), plusIsSpace: false) == nil)
    }
}
