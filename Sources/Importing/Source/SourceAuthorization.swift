import AsyncHTTPClient
import FoundationEssentials
import HTTPSyntax
import NIOCore
import NIOHTTP1
import Synchronization

/// Who asks the source.
package struct SourceCredentials: Sendable {
    package let user: String
    package let password: String

    package init(user: String, password: String) { (self.user, self.password) = (user, password) }

    var header: String { "Basic " + Data("\(user):\(password)".utf8).base64EncodedString() }
}

/// What a request needs the right to do, in the words of token servers.
/// Source: [Docker token scope](https://distribution.github.io/distribution/spec/auth/scope/).
enum SourceScope: Hashable, Sendable, CustomStringConvertible {
    case base
    case catalog
    case pull(repository: String)

    var description: String {
        switch self {
        case .base: ""
        case .catalog: "registry:catalog:*"
        case .pull(let repository): "repository:\(repository):pull"
        }
    }
}

/// Shows the source who asks, in the way that it wants: a password, or tokens of the server that it names. Nothing is
/// shown before the source asked for it.
/// Source: [Docker token authentication](https://distribution.github.io/distribution/spec/auth/token/).
final class SourceAuthorization: Sendable {
    private struct Token {
        let header: String
        let expiry: ContinuousClock.Instant
    }

    private struct State {
        var wantsPassword = false
        var tokens: [SourceScope: Token] = [:]
    }

    private let origin: SourceURL
    private let credentials: SourceCredentials?
    private let http: HTTPClient
    private let state = Mutex(State())
    private let fetching = InFlight<SourceScope>()

    /// Most tokens that are kept.
    private static let maximumTokens = 1000
    /// How long a token is good whose server does not say so.
    private static let standardLifetime = 60
    /// Before the end of a token it is renewed.
    private static let margin = Duration.seconds(10)
    /// Most bytes of a token server's answer.
    private static let maximumAnswer = 1 << 20

    init(origin: SourceURL, credentials: SourceCredentials?, http: HTTPClient) {
        (self.origin, self.credentials, self.http) = (origin, credentials, http)
    }

    /// The `Authorization` to begin with; nil for none.
    func header(for scope: SourceScope) -> String? {
        state.withLock { state in
            if state.wantsPassword { return credentials?.header }
            return state.tokens[scope].flatMap { $0.expiry > .now + Self.margin ? $0.header : nil }
        }
    }

    /// The `Authorization` that the source asks for.
    ///
    /// - Parameter refused: what was sent, if anything.
    /// - Throws: ``SourceError`` `.unauthorized` if we have nothing else to show.
    func header(answering challenges: [AuthenticationChallenge], for scope: SourceScope, insteadOf refused: String?)
        async throws -> String
    {
        if let challenge = challenges.first(where: { $0.scheme == "bearer" && $0.parameters["realm"] != nil }) {
            return try await fetching.exclusively(scope) {
                // Another request may have fetched it while this one waited.
                if let known = header(for: scope), known != refused { return known }
                return try await fetchToken(challenge, for: scope)
            }
        }
        guard challenges.contains(where: { $0.scheme == "basic" }) else {
            throw SourceError.unauthorized("The source wants a proof of identity that this program does not know.")
        }
        guard let credentials else {
            throw SourceError.unauthorized("The source wants a user and a password; none was given.")
        }
        if let refused { try noteRefusal(of: refused) }
        state.withLock { $0.wantsPassword = true }
        return credentials.header
    }

    /// The source was shown `header` and wants to be shown something again.
    ///
    /// - Throws: ``SourceError`` `.unauthorized` if that was the password.
    func noteRefusal(of header: String) throws {
        guard let credentials, credentials.header == header else { return }
        throw SourceError.unauthorized("The source does not accept the password of \(credentials.user).")
    }

    private func fetchToken(_ challenge: AuthenticationChallenge, for scope: SourceScope) async throws -> String {
        guard let realm = challenge.parameters["realm"].flatMap({ SourceURL($0) }), realm.isSecure || !origin.isSecure
        else {
            throw SourceError.unauthorized(
                "The source's token server '\(challenge.parameters["realm"] ?? "")' is no address that a password can be sent to."
            )
        }
        var query: [String] = []
        if let service = challenge.parameters["service"] { query.append("service=" + percentEncoded(service)) }
        let scopes = challenge.parameters["scope"] ?? "\(scope)"
        query += scopes.split(separator: " ").map { "scope=" + percentEncoded(String($0)) }
        let separator = realm.target.contains("?") ? "&" : "?"
        var request = HTTPClientRequest(url: realm.description + separator + query.joined(separator: "&"))
        if let credentials { request.headers.add(name: "Authorization", value: credentials.header) }
        let response = try await http.execute(request, timeout: .seconds(60))
        let body = try await response.body.collect(upTo: Self.maximumAnswer)
        switch response.status.code {
        case 200: return try keep(body, for: scope)
        case 500..., 429:
            throw TemporaryFailure(reason: "the token server answers \(response.status.code)", tries: 6)
        default:
            let user = credentials?.user ?? "an anonymous user"
            throw SourceError.unauthorized(
                "The token server \(realm.authority) gives \(user) no token for '\(scopes)' (\(response.status.code))."
            )
        }
    }

    private func keep(_ body: ByteBuffer, for scope: SourceScope) throws -> String {
        struct Answer: Decodable {
            var token: String?
            var access_token: String?
            var expires_in: Int?
        }
        let answer = try? JSONDecoder().decode(Answer.self, from: Data(body.readableBytesView))
        guard let text = answer?.token ?? answer?.access_token, !text.isEmpty else {
            throw SourceError.unauthorized("The token server answers without a token.")
        }
        let lifetime = Duration.seconds(max(answer?.expires_in ?? 0, Self.standardLifetime))
        let header = "Bearer \(text)"
        state.withLock { state in
            if state.tokens.count >= Self.maximumTokens { state.tokens = [:] }
            state.tokens[scope] = Token(header: header, expiry: .now + lifetime)
        }
        return header
    }
}
