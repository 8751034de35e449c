import AsyncHTTPClient
package import FoundationEssentials
import NIOCore
import NIOHTTP1
import Synchronization

/// Who we are to the store.
package struct S3Credentials: Hashable, Sendable {
    package let accessKeyID: String
    package let secretAccessKey: String
    package let sessionToken: String?
    /// Nil for those that stay.
    package let expiresAt: Date?

    package init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil, expiresAt: Date? = nil) {
        (self.accessKeyID, self.secretAccessKey) = (accessKeyID, secretAccessKey)
        (self.sessionToken, self.expiresAt) = (sessionToken, expiresAt)
    }
}

/// Where credentials come from.
package enum S3CredentialSource: Hashable, Sendable {
    case fixed(S3Credentials)
    /// A token of the platform's, in a file that it renews, for credentials of a role.
    /// Source: [AssumeRoleWithWebIdentity](https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
    case webIdentity(tokenFile: String, role: String, endpoint: String)
    /// The machine's own role.
    /// Source: [IMDSv2](https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html).
    case instance(endpoint: String)
}

/// The credentials of the moment, asked for again well before they expire.
actor S3CredentialCache {
    private let source: S3CredentialSource
    private let http: HTTPClient
    private var current: S3Credentials?
    private var refresh: Task<S3Credentials, any Error>?

    /// A URL that we sign must not outlive the credentials, so they are renewed earlier than that.
    private static let margin: TimeInterval = 25 * 60
    /// Who gives credentials may have none that last longer yet, and is not asked at every request.
    private static let pause: TimeInterval = 60
    private var askedAt = Date.distantPast
    private var replacedAt = Date.distantPast

    /// How often credentials were given up before their end. What they have signed is not good any more.
    nonisolated let replacements = Atomic(0)

    init(_ source: S3CredentialSource, _ http: HTTPClient) {
        self.source = source
        self.http = http
        if case .fixed(let credentials) = source { current = credentials }
    }

    /// - Throws: ``BlobStorageError`` `.unavailable` if there are none and none can be had.
    func get() async throws -> S3Credentials {
        let now = Date()
        if let current {
            guard let expiry = current.expiresAt, expiry.timeIntervalSince(now) < Self.margin else { return current }
            if expiry > now, now.timeIntervalSince(askedAt) < Self.pause { return current }
        }
        do {
            return try await renew()
        } catch {
            // Old ones do until they expire.
            if let current, let expiry = current.expiresAt, expiry > now { return current }
            throw BlobStorageError.unavailable("no credentials: \(error)")
        }
    }

    /// The store does not take credentials, whatever was said of their end.
    ///
    /// - Returns: whether there are others now.
    func replace(_ refused: S3Credentials) async -> Bool {
        if current != refused { return current != nil }
        // Those that stay are all there are; and who gives the same ones again is not asked at every request.
        guard refused.expiresAt != nil else { return false }
        if refresh == nil {
            let now = Date()
            guard now.timeIntervalSince(replacedAt) >= Self.pause else { return false }
            replacedAt = now
        }
        // Without new ones, the old ones do: what the store says of them is told to whoever asked for something.
        guard let loaded = try? await renew(), loaded != refused else { return false }
        replacements.add(1, ordering: .relaxed)
        return true
    }

    private func renew() async throws -> S3Credentials {
        if let refresh { return try await refresh.value }
        let (source, http) = (source, http)
        askedAt = Date()
        // Unstructured: all who wait share it, so that the cancellation of one must not end it.
        let task = Task { try await source.load(http) }
        refresh = task
        defer { refresh = nil }
        let loaded = try await task.value
        current = loaded
        return loaded
    }
}

extension S3CredentialSource {
    fileprivate func load(_ http: HTTPClient) async throws -> S3Credentials {
        switch self {
        case .fixed(let credentials): return credentials
        case .webIdentity(let file, let role, let endpoint):
            let token = String(decoding: try Data(contentsOf: URL(fileURLWithPath: file)), as: UTF8.self)
            let query = S3Signer.text([
                ("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("RoleArn", role),
                ("RoleSessionName", "strata"), ("WebIdentityToken", token.split(separator: "\n").joined()),
            ])
            let xml = try await Self.fetch(
                "POST",
                endpoint,
                ["content-type": "application/x-www-form-urlencoded"],
                query,
                http
            )
            guard let id = XMLText.first("AccessKeyId", in: xml), let key = XMLText.first("SecretAccessKey", in: xml)
            else {
                throw BlobStorageError.refused("the token service's answer holds no credentials")
            }
            return S3Credentials(
                accessKeyID: id,
                secretAccessKey: key,
                sessionToken: XMLText.first("SessionToken", in: xml),
                expiresAt: Self.end(XMLText.first("Expiration", in: xml), at: Date())
            )
        case .instance(let endpoint):
            let token = try await Self.fetch(
                "PUT",
                "\(endpoint)/latest/api/token",
                ["x-aws-ec2-metadata-token-ttl-seconds": "300"],
                "",
                http
            )
            let headers = ["x-aws-ec2-metadata-token": token]
            let base = "\(endpoint)/latest/meta-data/iam/security-credentials/"
            let role = try await Self.fetch("GET", base, headers, "", http)
            struct Answer: Decodable {
                let AccessKeyId: String
                let SecretAccessKey: String
                let Token: String?
                let Expiration: String?
            }
            let json = try await Self.fetch("GET", base + role.split(separator: "\n").joined(), headers, "", http)
            let answer = try JSONDecoder().decode(Answer.self, from: Data(json.utf8))
            return S3Credentials(
                accessKeyID: answer.AccessKeyId,
                secretAccessKey: answer.SecretAccessKey,
                sessionToken: answer.Token,
                expiresAt: Self.end(answer.Expiration, at: Date())
            )
        }
    }

    /// For how long credentials are good that do not say it: as new ones are there so long before the old ones end.
    private static let shortestLife: TimeInterval = 5 * 60

    /// When credentials of a session end, which always do: if that is not known, then so soon that they are asked for again.
    ///
    /// - Parameter text: with or without fractions of a second.
    static func end(_ text: String?, at now: Date) -> Date {
        let known = text.flatMap { text in
            (try? Date(text, strategy: .iso8601))
                ?? (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
        }
        return known ?? now + shortestLife
    }

    private static func fetch(
        _ method: String,
        _ url: String,
        _ headers: [String: String],
        _ body: String,
        _ http: HTTPClient
    ) async throws -> String {
        var request = HTTPClientRequest(url: url)
        request.method = .init(rawValue: method)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if !body.isEmpty { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await http.execute(request, timeout: .seconds(5))
        let text = String(buffer: try await response.body.collect(upTo: 1 << 20))
        guard response.status == .ok else {
            throw BlobStorageError.refused("\(url) answered \(response.status.code): \(text.prefix(200))")
        }
        return text
    }
}
