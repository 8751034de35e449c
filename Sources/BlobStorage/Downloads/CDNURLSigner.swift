import CLibCrypto
import FoundationEssentials

/// URLs of a CDN in front of the bucket, `<base>/<prefix><first two digits of the key>/<key>?…`, that it can verify
/// without asking us.
///
/// ``CDNKey/hmac(secret:)``: `?expires=<t>&key=<id>&signature=<s>`, in this order and with nothing else, where
/// - `<t>` is when the URL stops being good, in seconds since 1970, decimal without leading zeros;
/// - `<id>` is the name of the key, 1 to 64 letters, digits, hyphens and underscores;
/// - `<s>` is the HMAC-SHA256 under the key of the text `<path>\n<t>\n<id>`, in the 43 characters of base64url without
///   padding (RFC 4648 §5), and `<path>` is the URL's path, percent-encoded as it stands in the URL, from its first
///   slash up to the question mark.
///
/// ``CDNKey/cloudFront(_:)``: a signed URL of CloudFront's with a canned policy. Source: [Creating a signed URL using a
/// canned policy](https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-canned-policy.html).
package struct CDNURLSigner: ObjectURLSigner {
    /// Scheme, host and port.
    private let origin: String
    /// What stands between the origin and the key, with a slash at its start and at its end.
    private let folder: String
    private let keyID: String
    private let key: CDNKey

    /// - Parameters:
    ///   - base: `http(s)://host[:port][/path]`, without a slash at its end, percent-encoded.
    ///   - prefix: what the names of all objects begin with, as in ``S3Configuration/prefix``.
    ///   - keyID: letters, digits, hyphens and underscores.
    package init(base: String, prefix: String, keyID: String, key: CDNKey) {
        let host = base.firstRange(of: "://")?.upperBound ?? base.startIndex
        let slash = base[host...].firstIndex(of: "/") ?? base.endIndex
        origin = String(base[..<slash])
        folder = base[slash...] + "/" + S3Signer.encode(prefix, keepsSlash: true)
        (self.keyID, self.key) = (keyID, key)
    }

    package func signedURL(of key: StorageKey, lifetime: Int) async throws -> SignedURL {
        let expires = Int(Date().timeIntervalSince1970) + lifetime
        let end = Date(timeIntervalSince1970: TimeInterval(expires))
        return SignedURL(try url(of: key, expires: expires), expiresAt: end)
    }

    /// - Parameter expires: seconds since 1970.
    func url(of object: StorageKey, expires: Int) throws -> String {
        let path = folder + object.path
        switch key {
        case .hmac(let secret):
            let code = S3Signer.hmac(secret, "\(path)\n\(expires)\n\(keyID)")
            let text = Self.base64(code, ["+": "-", "/": "_", "=": ""])
            return "\(origin)\(path)?expires=\(expires)&key=\(keyID)&signature=\(text)"
        case .cloudFront(let key):
            let policy =
                #"{"Statement":[{"Resource":"\#(origin)\#(path)","Condition":{"DateLessThan":"#
                + #"{"AWS:EpochTime":\#(expires)}}}]}"#
            let signature = try key.signature(over: Array(policy.utf8))
            let text = Self.base64(signature, ["+": "-", "=": "_", "/": "~"])
            return "\(origin)\(path)?Expires=\(expires)&Signature=\(text)&Key-Pair-Id=\(keyID)"
        }
    }

    /// - Parameter replacements: for the characters that have a meaning in a query.
    private static func base64(_ bytes: [UInt8], _ replacements: [Character: String]) -> String {
        Data(bytes).base64EncodedString().map { replacements[$0] ?? String($0) }.joined()
    }
}
