import Foundation
import Testing

@testable import BlobStorage

/// The examples that AWS publishes, with their keys, moment and signatures. Sources: [Signature Calculations for the
/// Authorization Header](https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html) and
/// [Using Query Parameters](https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
@Suite("A request to an object store")
struct S3SignerTests {
    private static let signer = S3Signer(
        credentials: S3Credentials(
            accessKeyID: "AKIAIOSFODNN7EXAMPLE",
            secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
        ),
        region: "us-east-1"
    )
    private static let host = "examplebucket.s3.amazonaws.com"
    /// 2013-05-24T00:00:00Z.
    private static let moment = Date(timeIntervalSince1970: 1_369_353_600)

    struct Example: Sendable, CustomTestStringConvertible {
        let method: String
        let path: String
        let query: [(String, String)]
        let headers: [String: String]
        let body: String
        let names: String
        let signature: String
        var testDescription: String { "\(method) \(path)" }
    }

    private static let examples = [
        Example(
            method: "GET",
            path: "/test.txt",
            query: [],
            headers: ["range": "bytes=0-9"],
            body: "",
            names: "host;range;x-amz-content-sha256;x-amz-date",
            signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        ),
        Example(
            method: "PUT",
            path: "/test$file.text",
            query: [],
            headers: ["date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"],
            body: "Welcome to Amazon S3.",
            names: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        ),
        Example(
            method: "GET",
            path: "/",
            query: [("lifecycle", "")],
            headers: [:],
            body: "",
            names: "host;x-amz-content-sha256;x-amz-date",
            signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        ),
        Example(
            method: "GET",
            path: "/",
            query: [("prefix", "J"), ("max-keys", "2")],
            headers: [:],
            body: "",
            names: "host;x-amz-content-sha256;x-amz-date",
            signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        ),
    ]

    @Test("is signed in its headers as in AWS's examples", arguments: examples)
    func headers(_ example: Example) {
        let headers = Self.signer.headers(
            example.method,
            example.path,
            example.query,
            example.headers.merging(["host": Self.host]) { $1 },
            payload: S3Signer.hash(Array(example.body.utf8)),
            at: Self.moment
        )
        #expect(
            headers["authorization"]
                == "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                + "SignedHeaders=\(example.names),Signature=\(example.signature)"
        )
        #expect(headers["x-amz-date"] == "20130524T000000Z")
    }

    @Test("is signed in its query as in AWS's example")
    func query() {
        let query = Self.signer.presignedQuery(
            "GET",
            "/test.txt",
            [],
            host: Self.host,
            lifetime: 86_400,
            at: Self.moment
        )
        #expect(
            query
                == "X-Amz-Algorithm=AWS4-HMAC-SHA256"
                + "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
                + "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
                + "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        )
    }

    @Test("with credentials that expire carries and signs their token")
    func token() {
        let keys = S3Credentials(accessKeyID: "id", secretAccessKey: "key", sessionToken: "a/b+c=")
        let signer = S3Signer(credentials: keys, region: "eu-west-1")
        let headers = signer.headers("GET", "/", [], ["host": "h"], payload: S3Signer.hash([]), at: Self.moment)
        #expect(headers["x-amz-security-token"] == "a/b+c=")
        #expect(headers["authorization"]?.contains(";x-amz-security-token,") == true)
        let query = signer.presignedQuery("GET", "/", [], host: "h", lifetime: 60, at: Self.moment)
        #expect(query.contains("&X-Amz-Security-Token=a%2Fb%2Bc%3D&"))
    }

    @Test(
        "names its moment in UTC",
        arguments: [
            (0.0, "19700101T000000Z"), (951_782_400, "20000229T000000Z"), (1_078_012_799, "20040228T235959Z"),
            (1_795_572_245.9, "20261125T020405Z"), (4_107_542_400, "21000301T000000Z"),
            (4_107_542_399, "21000228T235959Z"),
        ]
    )
    func stamp(_ seconds: Double, _ text: String) {
        #expect(S3Signer.stamp(Date(timeIntervalSince1970: seconds)) == text)
    }

    @Test("encodes every byte that is not unreserved")
    func encoding() {
        #expect(S3Signer.encode("aZ09-._~") == "aZ09-._~")
        #expect(S3Signer.encode("a b+/é*") == "a%20b%2B%2F%C3%A9%2A")
        #expect(S3Signer.encode("/a b/", keepsSlash: true) == "/a%20b/")
        #expect(S3Signer.text([("b", "1"), ("a-c", ""), ("a", "2")]) == "a=2&a-c=&b=1")
    }
}
