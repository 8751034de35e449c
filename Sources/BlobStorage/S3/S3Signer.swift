import CLibCrypto
import FoundationEssentials
import OCI

/// Signs requests, in their headers or in their URL.
/// Source: [Signature Version 4](https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html).
package struct S3Signer: Sendable {
    let credentials: S3Credentials
    let region: String
    let service: String

    package init(credentials: S3Credentials, region: String, service: String = "s3") {
        (self.credentials, self.region, self.service) = (credentials, region, service)
    }

    /// Seconds for which a signed URL can be good.
    /// Source: [Signature calculations, query parameters](https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
    package static let longestLifetime = 7 * 24 * 3600

    /// What a payload's hash is said to be where it is not signed: content is hashed once already, for its digest.
    static let unsignedPayload = "UNSIGNED-PAYLOAD"

    /// The headers that a request needs besides `headers`.
    ///
    /// - Parameters:
    ///   - path: not yet percent-encoded, with its slash at the start.
    ///   - headers: with lower-case names; `host` among them.
    ///   - payload: the hexadecimal SHA-256 of the body, or ``unsignedPayload``.
    func headers(
        _ method: String,
        _ path: String,
        _ query: [(String, String)],
        _ headers: [String: String],
        payload: String,
        at date: Date
    ) -> [String: String] {
        var added = ["x-amz-date": Self.stamp(date), "x-amz-content-sha256": payload]
        if let token = credentials.sessionToken { added["x-amz-security-token"] = token }
        let all = headers.merging(added) { _, new in new }
        let names = all.keys.sorted()
        let canonical = [
            method, Self.encode(path, keepsSlash: true), Self.text(query),
            names.map { "\($0):\(all[$0] ?? "")\n" }.joined(), names.joined(separator: ";"), payload,
        ].joined(separator: "\n")
        let (scope, signature) = sign(canonical, at: date)
        added["authorization"] =
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope),SignedHeaders=\(names.joined(separator: ";")),"
            + "Signature=\(signature)"
        return added
    }

    /// The query of a URL with which anybody may do `method` until it expires.
    ///
    /// - Parameter lifetime: seconds from `date` on, at most a week.
    func presignedQuery(
        _ method: String,
        _ path: String,
        _ query: [(String, String)],
        host: String,
        lifetime: Int,
        at date: Date
    ) -> String {
        var all = query
        all.append(("X-Amz-Algorithm", "AWS4-HMAC-SHA256"))
        all.append(("X-Amz-Credential", "\(credentials.accessKeyID)/\(scope(date))"))
        all.append(("X-Amz-Date", Self.stamp(date)))
        all.append(("X-Amz-Expires", "\(lifetime)"))
        all.append(("X-Amz-SignedHeaders", "host"))
        if let token = credentials.sessionToken { all.append(("X-Amz-Security-Token", token)) }
        let text = Self.text(all)
        let canonical = [
            method, Self.encode(path, keepsSlash: true), text, "host:\(host)\n", "host", Self.unsignedPayload,
        ].joined(separator: "\n")
        return text + "&X-Amz-Signature=" + sign(canonical, at: date).signature
    }

    private func scope(_ date: Date) -> String { "\(Self.stamp(date).prefix(8))/\(region)/\(service)/aws4_request" }

    private func sign(_ canonical: String, at date: Date) -> (scope: String, signature: String) {
        let stamp = Self.stamp(date)
        let scope = scope(date)
        let text = "AWS4-HMAC-SHA256\n\(stamp)\n\(scope)\n\(Self.hash(Array(canonical.utf8)))"
        var key = Self.hmac(Array("AWS4\(credentials.secretAccessKey)".utf8), String(stamp.prefix(8)))
        for part in [region, service, "aws4_request", text] { key = Self.hmac(key, part) }
        return (scope, Hexadecimal.encode(key))
    }

    static func hash(_ bytes: [UInt8]) -> String { Hexadecimal.encode(Digest(hashing: bytes).hash) }

    static func hmac(_ key: [UInt8], _ message: String) -> [UInt8] {
        let message = Array(message.utf8)
        var code = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 0
        HMAC(EVP_sha256(), key, CInt(key.count), message, message.count, &code, &length)
        return code
    }

    /// `20261124T031500Z`.
    static func stamp(_ date: Date) -> String {
        let days = Int((date.timeIntervalSince1970 / 86_400).rounded(.down))
        let seconds = Int(date.timeIntervalSince1970) - days * 86_400
        let (year, month, day) = civil(days)
        return pad(year, 4) + pad(month, 2) + pad(day, 2) + "T" + pad(seconds / 3600, 2) + pad(seconds / 60 % 60, 2)
            + pad(seconds % 60, 2) + "Z"
    }

    private static func pad(_ number: Int, _ width: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    /// The proleptic Gregorian date of a day counted from 1970-01-01; days are counted from 0000-03-01, so that a leap
    /// day is the last of its year.
    private static func civil(_ days: Int) -> (Int, Int, Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// A query in the order and encoding that are signed; sent like this too.
    static func text(_ query: [(String, String)]) -> String {
        query.map { (encode($0.0), encode($0.1)) }.sorted { $0 < $1 }.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
    }

    static func encode(_ text: String, keepsSlash: Bool = false) -> String {
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                encoded.append(byte)
            case UInt8(ascii: "/") where keepsSlash: encoded.append(byte)
            default: encoded += Array("%\(Hexadecimal.encode([byte]).uppercased())".utf8)
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
