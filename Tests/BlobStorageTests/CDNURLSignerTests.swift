import Foundation
import Testing

@testable import BlobStorage

/// The signatures were made with Python's hmac and `openssl dgst -sha1 -sign`, which share no code with the signer.
@Suite("A URL of the CDN")
struct CDNURLSignerTests {
    private static let secret = Array("0123456789abcdef0123456789abcdef".utf8)
    private let object = StorageKey("00112233445566778899aabbccddeeff")

    struct Place: Sendable, CustomTestStringConvertible {
        let base: String
        let prefix: String
        let url: String
        let hmac: String
        let rsa: String
        var testDescription: String { url }
    }

    private static let places = [
        Place(
            base: "https://cdn.example.net",
            prefix: "",
            url: "https://cdn.example.net/00/00112233445566778899aabbccddeeff",
            hmac: "ZGSuGFoea04YK_Dj_0R0z3BA_NrIVSCEOBV83Jh4uWk",
            rsa:
                "DaeNBhxCVBrDcaHehUtKXSziUfzvHGQEPrmFsl-kBtfAscn0bK0GRrotRn0rkE3yAhnKMa4M9e3B2Sg8HywD"
                + "-UY3n1IawAgdOjvKpcnVFGCWwDooe~IdfDsxj6wpAOMlV9PKgxWuVdAAQIk9urUT8P9S7VCRxTvBe-JCazq1"
                + "YsFhwodqj9aW6-VGBAkVluyyAF-RSEjcP0DTI00AD6z-0UrQHJXfOb50-UzzHwsCN-ZvOiC9sp0zxiyYPBmE"
                + "z-NnttzyOsuwPPzYxMuCzzhjr3dtBkP-zKz~cGufZVFOJ-6N-lgJ0EjeOuInSDK7SDPJh60-RH1Gpxnal6yR"
                + "4LOvgQ__"
        ),
        Place(
            base: "https://cdn.example.net:8443/blobs",
            prefix: "team registry/",
            url: "https://cdn.example.net:8443/blobs/team%20registry/00/00112233445566778899aabbccddeeff",
            hmac: "rxAU3dj_wRS05RdSZSPcUlxDYLfNJcbcVIQ7cCMaVrc",
            rsa:
                "FtO3QOXqqebRMg6L7-yBsUzrTLraO8aXoC1Ctsd8npTF40AiEFN1g-BtPe00ZiAzAOC-H-affwvZcrCuep6q"
                + "-zjCUg-ITG76Lvtqa7G95fpBbEGcW-xiuK2vPq9qY~bXbjczeWcJXAWXTi3HcGhAdSR4zRH2RCofTid1RgTv"
                + "DPfdkKs18YUFPtuZKTSWarpfaNohG05nVvxEhhZzitRbLonin5oyIfO8QdnYuIzI-v2YGjVMreue0mMNfyki"
                + "Z6WWOpXLSkqsFgSqx-sKF33fx5Q75XgJiGnzXl6UNJOnRRdEMy9cUoNkhdjQ9Fj-kd55AvLE5y4sqjoiydH1"
                + "fdyqcQ__"
        ),
    ]

    @Test("is signed with an HMAC over path, expiry and key", arguments: places)
    func hmac(_ place: Place) throws {
        let key = CDNKey.hmac(secret: Self.secret)
        let signer = CDNURLSigner(base: place.base, prefix: place.prefix, keyID: "K2026-11", key: key)
        let url = try signer.url(of: try #require(object), expires: 1_800_000_000)
        #expect(url == "\(place.url)?expires=1800000000&key=K2026-11&signature=\(place.hmac)")
    }

    @Test("is signed for CloudFront with RSA over a canned policy", arguments: places)
    func cloudFront(_ place: Place) throws {
        let key = try CDNKey.cloudFront(file: Array(TestKeys.rsa.utf8))
        let signer = CDNURLSigner(base: place.base, prefix: place.prefix, keyID: "K2026-11", key: key)
        let url = try signer.url(of: try #require(object), expires: 1_800_000_000)
        #expect(url == "\(place.url)?Expires=1800000000&Signature=\(place.rsa)&Key-Pair-Id=K2026-11")
    }

    @Test("is good for the time asked for, from now on")
    func lifetime() async throws {
        let key = CDNKey.hmac(secret: Self.secret)
        let signer = CDNURLSigner(base: "http://cdn.example.net", prefix: "", keyID: "k", key: key)
        let before = Int(Date().timeIntervalSince1970)
        let url = try await signer.signedURL(of: try #require(object), lifetime: 600)
        let text = try #require(url.text.split(separator: "=").dropFirst().first?.split(separator: "&").first)
        let expires = try #require(Int(text))
        #expect((before + 600...Int(Date().timeIntervalSince1970) + 600).contains(expires))
        #expect(url.expiresAt == Date(timeIntervalSince1970: TimeInterval(expires)))
    }

    @Test("is signed by many at once as by one")
    func isShared() async throws {
        let key = try CDNKey.cloudFront(file: Array(TestKeys.rsa.utf8))
        let signer = CDNURLSigner(base: "http://cdn.example.net", prefix: "", keyID: "k", key: key)
        let object = try #require(object)
        let urls = try await withThrowingTaskGroup(of: String.self) { group in
            for number in 0..<64 { group.addTask { try signer.url(of: object, expires: 1000 + number % 2) } }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(urls.count == 2)
    }
}

@Suite("A key for the CDN")
struct CDNKeyTests {
    @Test("of an HMAC ends before the line ends of its file", arguments: ["", "\n", "\r\n", "\n\n"])
    func endsBeforeLineEnds(_ end: String) throws {
        let text = "0123456789abcdef\n0123456789abcdef"
        guard case .hmac(let secret) = try CDNKey.hmac(file: Array((text + end).utf8)) else {
            Issue.record("not an HMAC key")
            return
        }
        #expect(secret == Array(text.utf8))
    }

    @Test("of an HMAC has 32 bytes at least", arguments: [0, 1, 31])
    func isLong(_ count: Int) throws {
        let bytes = [UInt8](repeating: 7, count: count)
        #expect(throws: CDNKeyError.tooShort(bytes: count)) { try CDNKey.hmac(file: bytes + [10, 13, 10]) }
        #expect(throws: Never.self) { try CDNKey.hmac(file: [UInt8](repeating: 7, count: 32)) }
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let file: String
        let error: CDNKeyError

        init(_ name: String, _ file: String, _ error: CDNKeyError) {
            (testDescription, self.file, self.error) = (name, file, error)
        }
    }

    @Test(
        "of CloudFront's is an RSA private key that nobody has to be asked for",
        arguments: [
            Wrong("nothing", "", .noPrivateKey), Wrong("text", "0123456789abcdef0123456789abcdef", .noPrivateKey),
            Wrong("a public key", TestKeys.open, .noPrivateKey),
            Wrong("a key under a passphrase", TestKeys.locked, .noPrivateKey),
            Wrong("part of a key", String(TestKeys.rsa.dropLast(200)), .noPrivateKey),
            Wrong("an elliptic key", TestKeys.elliptic, .notRSA),
            Wrong("a short key", TestKeys.weak, .weak(bits: 1024)),
        ]
    )
    func isRSA(_ wrong: Wrong) {
        #expect(throws: wrong.error) { try CDNKey.cloudFront(file: Array(wrong.file.utf8)) }
    }

    @Test("is not told in what is said of it")
    func isSecret() {
        let errors: [CDNKeyError] = [.tooShort(bytes: 3), .noPrivateKey, .notRSA, .weak(bits: 1024)]
        #expect(errors.allSatisfy { "\($0)".hasPrefix("it") && !"\($0)".contains("0123") })
    }
}
