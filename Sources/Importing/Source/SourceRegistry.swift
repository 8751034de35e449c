import AsyncHTTPClient
import FoundationEssentials
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import OCI

/// The registry that content comes from, and how it is reached.
package struct SourceConfiguration: Sendable {
    /// `http(s)://host[:port]`.
    package let url: String
    package let credentials: SourceCredentials?
    /// A PEM file with certificates of authorities to be trusted besides the system's.
    package let authorities: String?
    /// Most connections at a time.
    package let connections: Int

    package init(url: String, credentials: SourceCredentials?, authorities: String?, connections: Int) {
        (self.url, self.credentials, self.authorities) = (url, credentials, authorities)
        self.connections = connections
    }
}

/// A client of the pulling half of the distribution API. It shows who asks only to the source itself and to the token
/// server that the source names, and tries again what failed for a moment.
package struct SourceRegistry: Sendable {
    let origin: SourceURL
    let pulse = SourcePulse()
    let logger: Logger
    private let http: HTTPClient
    private let authorization: SourceAuthorization

    /// Tries of one request, the first included: with the pauses between them a quarter of a minute, which is what the
    /// restart of a registry takes.
    private static let tries = 6
    /// Longest pause that a `Retry-After` can ask for.
    private static let maximumPause = Duration.seconds(300)
    private static let maximumRedirects = 5

    /// Connects for as long as `body` runs.
    ///
    /// - Throws: ``SourceError`` `.refused` if the address is none, and what `body` throws.
    package static func with<Result>(
        _ configuration: SourceConfiguration,
        logger: Logger,
        _ body: (SourceRegistry) async throws -> Result
    ) async throws -> Result {
        let source = try SourceRegistry(configuration, logger: logger)
        do {
            let result = try await body(source)
            try await source.http.shutdown()
            return result
        } catch {
            try? await source.http.shutdown()  // what went wrong before says more
            throw error
        }
    }

    private init(_ configuration: SourceConfiguration, logger: Logger) throws {
        guard let origin = SourceURL(configuration.url) else {
            throw SourceError.refused("'\(configuration.url)' is not the address of a registry.")
        }
        self.origin = origin
        self.logger = logger
        var settings = HTTPClient.Configuration()
        // What makes a request hang is found by silence; large transfers may take any time.
        settings.timeout = .init(connect: .seconds(10), read: .seconds(60), write: .seconds(60))
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.connections
        // Tried again here, where it is known how long that makes sense.
        settings.connectionPool.retryConnectionEstablishment = false
        // Followed here: the password must stay behind.
        settings.redirectConfiguration = .disallow
        settings.decompression = .disabled
        settings.httpVersion = .http1Only
        if let file = configuration.authorities {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.additionalTrustRoots = [.file(file)]
            settings.tlsConfiguration = tls
        }
        http = HTTPClient(
            eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton),
            configuration: settings
        )
        authorization = SourceAuthorization(origin: origin, credentials: configuration.credentials, http: http)
    }

    struct Request: Sendable {
        var method = HTTPMethod.GET
        let url: SourceURL
        let scope: SourceScope
        var headers: [(String, String)] = []
        /// What is asked for, for error messages.
        let subject: String
    }

    struct Answer: Sendable {
        let headers: HTTPHeaders
        let body: ByteBuffer

        func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
            try JSONDecoder().decode(type, from: Data(body.readableBytesView))
        }
    }

    /// An answer that fits into memory, of at most `limit` bytes.
    ///
    /// - Throws: ``SourceError``.
    func collect(_ request: Request, limit: Int, tries: Int = Self.tries) async throws -> Answer {
        try await retrying(request.subject, tries: tries) {
            let response = try await send(request)
            do {
                return Answer(headers: response.headers, body: try await response.body.collect(upTo: limit))
            } catch is NIOTooManyBytesError {
                throw SourceError.refused("The source sends more than \(limit) bytes for \(request.subject).")
            }
        }
    }

    /// An answer whose body is still to be read.
    ///
    /// - Throws: ``SourceError``.
    func open(_ request: Request) async throws -> HTTPClientResponse {
        try await retrying(request.subject, tries: Self.tries) { try await send(request) }
    }

    /// Calls `body` until it does not fail for the moment only.
    private func retrying<Result>(_ subject: String, tries: Int, _ body: () async throws -> Result) async throws
        -> Result
    {
        let mark = try pulse.check()
        var attempt = 0
        while true {
            attempt += 1
            let failure: TemporaryFailure
            do {
                return try await body()
            } catch let error as SourceError {
                throw error
            } catch let error as TemporaryFailure {
                failure = error
            } catch let error as NIOSSLError where Self.meansPlainHTTP(error) {
                throw SourceError.refused(
                    "\(subject) cannot be had: the server does not speak TLS. If it is to be spoken to unencrypted, name it "
                        + "with http://, and allow that with --insecure."
                )
            } catch {
                try Task.checkCancellation()
                failure = TemporaryFailure(reason: "\(error)", tries: tries)
            }
            guard attempt < min(tries, failure.tries) else {
                pulse.gaveUp(since: mark, failure.reason)
                throw SourceError.unavailable("\(subject) cannot be had: \(failure.reason).")
            }
            logger.info(
                "the source is asked again",
                metadata: ["subject": "\(subject)", "reason": "\(failure.reason)"]
            )
            try await Task.sleep(for: min(failure.pause ?? Self.pause(after: attempt), Self.maximumPause))
            try pulse.check()
        }
    }

    /// The first bytes of the answer were no TLS. Told by its words: NIO has no case for it.
    private static func meansPlainHTTP(_ error: NIOSSLError) -> Bool { "\(error)".contains("WRONG_VERSION_NUMBER") }

    private static func pause(after attempt: Int) -> Duration {
        let ceiling = min(15, 0.5 * Double(1 << (attempt - 1)))
        return .seconds(Double.random(in: ceiling / 2...ceiling))
    }

    /// One try. What is no 2xx is thrown.
    private func send(_ request: Request) async throws -> HTTPClientResponse {
        let known = authorization.header(for: request.scope)
        var (response, isHome) = try await follow(request, showing: known)
        if response.status == .unauthorized, isHome {
            let challenges = response.headers["WWW-Authenticate"].flatMap { AuthenticationChallenge.parse($0) }
            try await response.drain()
            let wanted = try await authorization.header(
                answering: challenges,
                for: request.scope,
                insteadOf: known
            )
            (response, isHome) = try await follow(request, showing: wanted)
            if response.status == .unauthorized, isHome { try authorization.noteRefusal(of: wanted) }
        }
        guard (200..<300).contains(response.status.code) else { throw try await failure(response, of: request) }
        return response
    }

    /// - Returns: the last answer, and whether it comes from the source itself.
    private func follow(_ request: Request, showing header: String?) async throws -> (HTTPClientResponse, Bool) {
        var url = request.url
        var isHome = true
        for _ in 0...Self.maximumRedirects {
            // Whoever is sent elsewhere and back again is not trusted again.
            isHome = isHome && url.hasSameOrigin(as: origin)
            var message = HTTPClientRequest(url: url.description)
            message.method = request.method
            message.headers.add(name: "User-Agent", value: "strata-import")
            for (name, value) in request.headers { message.headers.add(name: name, value: value) }
            if isHome, let header { message.headers.add(name: "Authorization", value: header) }
            let response = try await http.execute(message, timeout: .minutes(5))
            // A gateway that finds nobody behind it does not speak for the source.
            if isHome, !Self.isFromGateway(response) { pulse.answered() }
            guard [301, 302, 303, 307, 308].contains(response.status.code) else { return (response, isHome) }
            try await response.drain()
            let location = response.headers.first(name: "Location") ?? ""
            guard let next = url.resolving(location), next.isSecure || !url.isSecure else {
                throw SourceError.refused(
                    "The source redirects \(request.subject) to where it cannot be fetched safely."
                )
            }
            url = next
        }
        throw SourceError.refused("The source redirects \(request.subject) more than \(Self.maximumRedirects) times.")
    }

    private func failure(_ response: HTTPClientResponse, of request: Request) async throws -> any Error {
        let code = Int(response.status.code)
        let pause = response.headers.first(name: "Retry-After").flatMap { Int64($0) }.map {
            Duration.seconds(max(0, $0))
        }
        let message = try await Self.message(of: response)
        let said = message.isEmpty ? "\(code)" : "\(code), \(message)"
        switch code {
        case 404: return SourceError.notFound(request.subject)
        case 401, 403: return SourceError.unauthorized("The source does not give us \(request.subject) (\(said)).")
        case 408, 429:
            return TemporaryFailure(reason: "the source answers \(said)", pause: pause, tries: Self.tries)
        case 500...:
            // A source that is not there may come back; one that has an error of its own may keep it.
            let tries = Self.isFromGateway(response) ? Self.tries : 3
            return TemporaryFailure(reason: "the source answers \(said)", pause: pause, tries: tries)
        default:
            return SourceError.refused("The source answers \(said) when asked for \(request.subject).", status: code)
        }
    }

    private static func isFromGateway(_ response: HTTPClientResponse) -> Bool {
        (502...504).contains(response.status.code)
    }

    /// The first sentence of the error envelope, shortened; empty if there is none.
    private static func message(of response: HTTPClientResponse) async throws -> String {
        struct Envelope: Decodable {
            struct Entry: Decodable {
                var code: String?
                var message: String?
            }
            var errors: [Entry]?
        }
        var text = Data()
        for try await chunk in response.body {
            text += chunk.readableBytesView
            if text.count > HTTPClientResponse.drainLimit { return "" }
        }
        // Anything else that a server may say here is no use to an operator.
        guard let entry = try? JSONDecoder().decode(Envelope.self, from: text).errors?.first else { return "" }
        let words = [entry.code, entry.message].compactMap { $0 }.joined(separator: ": ")
        return String(words.printable.unicodeScalars.prefix(200).map(Character.init))
    }
}

extension HTTPClientResponse {
    /// Bytes of a body that are worth reading only so that the connection can be used again.
    fileprivate static let drainLimit = 64 * 1024

    fileprivate func drain() async throws {
        var count = 0
        for try await chunk in body {
            count += chunk.readableBytes
            if count > Self.drainLimit { return }
        }
    }
}
