import AsyncHTTPClient
import FoundationEssentials
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import OCI

/// Speaks to an S3-compatible store: signs, sends, and sends again what failed through no fault of its own.
package struct S3Client: Sendable {
    let configuration: S3Configuration
    let http: HTTPClient
    /// For what clients read as fast as they like: their connections are not those that everything else needs.
    let downloads: HTTPClient
    let logger: Logger
    let credentials: S3CredentialCache

    /// Tries of one request, the first included.
    static let usualTries = 5

    package init(_ configuration: S3Configuration, _ source: S3CredentialSource, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        var settings = HTTPClient.Configuration()
        // What makes a request hang is found by silence; large transfers may take any time.
        settings.timeout = .init(connect: .seconds(5), read: .seconds(30), write: .seconds(30))
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.connections
        settings.redirectConfiguration = .disallow
        settings.decompression = .disabled
        settings.httpVersion = .http1Only
        let group = HTTPClient.EventLoopGroupProvider.shared(MultiThreadedEventLoopGroup.singleton)
        http = HTTPClient(eventLoopGroupProvider: group, configuration: settings)
        downloads = HTTPClient(eventLoopGroupProvider: group, configuration: settings)
        credentials = S3CredentialCache(source, http)
    }

    enum Body: Sendable {
        case none
        /// Small and signed.
        case text(String)
        /// Large and not hashed a second time.
        case chunks([ByteBuffer], count: Int)
    }

    struct Answer: Sendable {
        let status: Int
        let headers: HTTPHeaders
        let body: ByteBuffer

        var text: String { String(buffer: body) }
        var errorCode: String { XMLText.first("Code", in: text) ?? "" }
        /// Whether other credentials might do.
        var refusesCredentials: Bool {
            ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"].contains(errorCode)
        }
        /// Whether the store has no room, or none for us.
        var isFull: Bool { status == 507 || StoreFault.codesOfFull.contains(errorCode) }
    }

    /// - Parameters:
    ///   - name: of the object; nil for the bucket itself.
    ///   - accepts: statuses besides 2xx that are answers and no errors.
    ///   - tries: how often it is sent at most, the first time included.
    /// - Throws: ``BlobStorageError``.
    func send(
        _ method: HTTPMethod,
        _ name: String?,
        _ query: [(String, String)] = [],
        headers: [String: String] = [:],
        body: Body = .none,
        accepts: Set<Int> = [],
        tries: Int = usualTries
    ) async throws -> Answer {
        var attempt = 0
        var tries = tries
        while true {
            attempt += 1
            let failure: BlobStorageError
            let identity = try await credentials.get()
            do {
                let response = try await execute(method, name, query, headers, body, as: identity)
                let answer = Answer(
                    status: Int(response.status.code),
                    headers: response.headers,
                    body: try await response.body.collect(upTo: 8 << 20)
                )
                // A failed completion may be announced in the body of a 200.
                let hasFailed = answer.status >= 300 || (method == .POST && answer.text.contains("<Error>"))
                guard hasFailed else { return answer }
                if answer.refusesCredentials, await credentials.replace(identity) { continue }
                let isTemporary = Self.isTemporary(answer)
                if accepts.contains(answer.status), !isTemporary { return answer }
                let reason =
                    "\(method.rawValue) \(name ?? "bucket"): \(answer.status) \(answer.errorCode) "
                    + (XMLText.first("Message", in: answer.text) ?? "")
                if answer.isFull {
                    logger.notice("blob storage is full", metadata: ["reason": "\(reason)"])
                    throw BlobStorageError.full
                }
                guard isTemporary else { throw BlobStorageError.refused(reason) }
                failure = .unavailable(reason)
            } catch let error as BlobStorageError {
                throw error
            } catch {
                try Task.checkCancellation()
                // The store refused before it had the whole body, and the HTTP client, still sending, lost what it said: only
                // another try can tell, even where one was to be enough.
                if error as? HTTPClientError == .bodyLengthMismatch { tries = max(tries, Self.usualTries) }
                failure = .unavailable("\(method.rawValue) \(name ?? "bucket"): \(error)")
            }
            guard attempt < tries else { throw failure }
            logger.info("blob storage is tried again", metadata: ["reason": "\(failure)", "attempt": "\(attempt)"])
            try await Self.pause(after: attempt)
        }
    }

    /// The part of an object; its body is still to be read.
    ///
    /// - Parameter client: whose connection it takes.
    func get(_ name: String, _ range: Range<Int64>, as identity: S3Credentials, by client: HTTPClient) async throws
        -> HTTPClientResponse
    {
        let header = "bytes=\(range.lowerBound)-\(range.upperBound - 1)"
        return try await execute(.GET, name, [], ["range": header], .none, as: identity, by: client)
    }

    func shutdown() async throws {
        try await downloads.shutdown()
        try await http.shutdown()
    }

    static func pause(after attempt: Int) async throws {
        let ceiling = min(3.0, 0.1 * Double(1 << attempt))
        try await Task.sleep(for: .seconds(Double.random(in: ceiling / 2...ceiling)))
    }

    static func isTemporary(_ answer: Answer) -> Bool {
        guard !answer.isFull else { return false }
        return answer.status >= 500 || answer.status == 429
            || ["SlowDown", "RequestTimeout", "InternalError", "OperationAborted"].contains(answer.errorCode)
    }

    /// A URL from which anybody may read an object for a while.
    ///
    /// - Parameters:
    ///   - lifetime: seconds.
    ///   - query: what the answer shall look like, such as `response-content-type`.
    func presigned(_ name: String, _ query: [(String, String)], lifetime: Int) async throws -> SignedURL {
        let credentials = try await self.credentials.get()
        let signer = S3Signer(credentials: credentials, region: configuration.region)
        let path = configuration.path(name)
        let now = Date()
        let signed = signer.presignedQuery(
            "GET",
            path,
            query,
            host: configuration.authority,
            lifetime: lifetime,
            at: now
        )
        let end = now + TimeInterval(lifetime)
        return SignedURL(
            "\(configuration.scheme)://\(configuration.authority)\(S3Signer.encode(path, keepsSlash: true))?\(signed)",
            // The store takes no URL whose credentials have ended.
            expiresAt: credentials.expiresAt.map { min($0, end) } ?? end
        )
    }

    private func execute(
        _ method: HTTPMethod,
        _ name: String?,
        _ query: [(String, String)],
        _ headers: [String: String],
        _ body: Body,
        as identity: S3Credentials,
        by client: HTTPClient? = nil
    ) async throws -> HTTPClientResponse {
        let signer = S3Signer(credentials: identity, region: configuration.region)
        let path = configuration.path(name)
        var all = headers
        all["host"] = configuration.authority
        let payload =
            switch body {
            case .none: S3Signer.hash([])
            case .text(let text): S3Signer.hash(Array(text.utf8))
            case .chunks: S3Signer.unsignedPayload
            }
        let signed = signer.headers(method.rawValue, path, query, all, payload: payload, at: Date())
        let text = S3Signer.text(query)
        var request = HTTPClientRequest(
            url: "\(configuration.scheme)://\(configuration.authority)\(S3Signer.encode(path, keepsSlash: true))"
                + (text.isEmpty ? "" : "?\(text)")
        )
        request.method = method
        for (name, value) in all.merging(signed, uniquingKeysWith: { _, new in new }) {
            request.headers.add(name: name, value: value)
        }
        switch body {
        case .none: break
        case .text(let text): request.body = .bytes(ByteBuffer(string: text))
        case .chunks(let chunks, let count): request.body = .stream(ChunkSequence(chunks), length: .known(Int64(count)))
        }
        return try await (client ?? http).execute(request, deadline: .now() + .minutes(10), logger: nil)
    }
}

/// Buffers that are in memory, as a request's body.
private struct ChunkSequence: AsyncSequence, Sendable {
    private let chunks: [ByteBuffer]

    init(_ chunks: [ByteBuffer]) { self.chunks = chunks }

    func makeAsyncIterator() -> Iterator { Iterator(rest: chunks[...]) }

    struct Iterator: AsyncIteratorProtocol {
        var rest: ArraySlice<ByteBuffer>
        mutating func next() async -> ByteBuffer? { rest.popFirst() }
    }
}
