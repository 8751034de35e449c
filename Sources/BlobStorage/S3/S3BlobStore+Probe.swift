import AsyncHTTPClient
import FoundationEssentials
import Glibc
import NIOCore
import NIOHTTP1

extension S3BlobStore {
    /// What readiness asks; an object in one request, read and read through a signed URL; uploads in parts, one found and
    /// given up, one made whole; all deleted.
    ///
    /// - Parameter keys: two, which the metadata knows already.
    package func probe(_ keys: [StorageKey], readingURL: Bool) async -> StoreProbe {
        var probe = StoreProbe()
        guard keys.count == 2 else { return probe }
        let bytes = ByteBuffer(string: "strata \(keys[0])")
        do {
            let answer = try await ask(.PUT, keys[0], "PUT", body: bytes)
            probe.clockAhead = Self.clockAhead(answer)
            _ = try await ask(.GET, nil, "list", healthQuery)
            let read = try await ask(.GET, keys[0], "GET").body
            if read != bytes { throw StoreFault(.other, "GET", "other bytes came back than were stored") }
            if readingURL { probe.urlFault = await urlFault(keys[0], bytes) }
            try await probeParts(keys[1], bytes)
            probe.leftoverFault = try await leftoverFault(keys[1])
        } catch let refusal as Refusal {
            probe.fault = refusal.fault
            probe.clockAhead = probe.clockAhead ?? Self.clockAhead(refusal.answer)
        } catch {
            probe.fault = StoreFault(error, "request")
        }
        if probe.fault?.reason == .unreachable { return probe }
        for key in keys {
            do {
                _ = try await ask(.DELETE, key, "DELETE", accepts: [404])
                // What went wrong may still arrive at the store: then the collector looks after it.
                if probe.fault == nil, probe.leftoverFault == nil { probe.gone.append(key) }
            } catch {
                guard probe.fault == nil else { break }
                probe.fault = (error as? Refusal)?.fault ?? StoreFault(error, "DELETE")
            }
        }
        return probe
    }

    private func begin(_ key: StorageKey) async throws -> String {
        let begun = try await ask(.POST, key, "start an upload in parts", [("uploads", "")])
        guard let id = XMLText.first("UploadId", in: begun.text) else {
            throw StoreFault(.other, "start an upload in parts", "the answer has no UploadId")
        }
        return id
    }

    private func probeParts(_ key: StorageKey, _ bytes: ByteBuffer) async throws {
        let id = try await begin(key)
        do {
            let query = [("partNumber", "1"), ("uploadId", id)]
            let part = try await ask(.PUT, key, "PUT a part", query, body: bytes)
            guard let tag = part.headers.first(name: "etag") else {
                throw StoreFault(.other, "PUT a part", "the answer has no ETag")
            }
            let parts = [S3UploadState.Part(tag: tag, size: Int64(bytes.readableBytes))]
            _ = try await complete(id, of: key, parts, size: Int64(bytes.readableBytes))
        } catch {
            try? await abort(id, of: key)  // what went wrong before says more, and the store drops it in days
            throw error
        }
    }

    /// Why an upload in parts that nobody goes on with could not be found and given up.
    private func leftoverFault(_ key: StorageKey) async throws -> StoreFault? {
        let id = try await begin(key)
        do {
            let operation = "list uploads in parts"
            let list = try await ask(.GET, nil, operation, uploadsQuery(key))
            guard Self.uploads(in: list.text).contains(id) else {
                throw StoreFault(.other, operation, "one that was begun a moment ago is not among them")
            }
            _ = try await ask(.DELETE, key, "give up an upload in parts", [("uploadId", id)])
            return nil
        } catch {
            try? await abort(id, of: key)  // what went wrong before says more, and the key stays for the collector
            return (error as? Refusal)?.fault ?? StoreFault(error, "request")
        }
    }

    /// Why a client that is sent to the store would not get the bytes.
    private func urlFault(_ key: StorageKey, _ bytes: ByteBuffer) async -> String? {
        do {
            let url = try await signedURL(of: key, lifetime: 60)
            let response = try await client.http.execute(HTTPClientRequest(url: url.text), timeout: .seconds(10))
            let body = try await response.body.collect(upTo: 1 << 20)
            if response.status == .ok { return body == bytes ? nil : "a signed URL gives other bytes" }
            return "a signed URL is answered with \(response.status.code) "
                + (XMLText.first("Code", in: String(buffer: body)) ?? "")
        } catch {
            return "a signed URL cannot be read: \(error)"
        }
    }

    /// What is asked for is how it is now, and somebody waits.
    private static let probeTries = 1

    private struct Refusal: Error {
        let answer: S3Client.Answer
        let fault: StoreFault
    }

    /// - Parameter key: nil for the bucket itself.
    private func ask(
        _ method: HTTPMethod,
        _ key: StorageKey?,
        _ operation: String,
        _ query: [(String, String)] = [],
        body: ByteBuffer? = nil,
        accepts: Set<Int> = []
    ) async throws -> S3Client.Answer {
        let name = key.map { client.configuration.name(of: $0) }
        let content = body.map { S3Client.Body.chunks([$0], count: $0.readableBytes) } ?? .none
        let answer: S3Client.Answer
        do {
            answer = try await client.send(
                method,
                name,
                query,
                body: content,
                accepts: Set(300..<600),
                tries: Self.probeTries
            )
        } catch BlobStorageError.unavailable(let reason) {
            let start = "\(method.rawValue) \(name ?? "bucket"): "
            let plain = reason.hasPrefix(start) ? String(reason.dropFirst(start.count)) : reason
            throw StoreFault(.unreachable, operation, plain)
        }
        guard answer.status >= 300, !accepts.contains(answer.status) else { return answer }
        throw Refusal(answer: answer, fault: StoreFault(answer, operation))
    }

    /// The time of `Wed, 25 Nov 2026 02:15:09 GMT`, in seconds since 1970.
    /// Source: [RFC 9110, section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
    static func seconds(_ text: String) -> Int? {
        let words = text.split { $0 == " " || $0 == ":" }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard words.count == 8, words[7] == "GMT", let month = months.firstIndex(of: String(words[2])),
            let day = CInt(words[1]), let year = CInt(words[3]),
            let hour = CInt(words[4]), let minute = CInt(words[5]), let second = CInt(words[6])
        else { return nil }
        var time = tm()
        (time.tm_year, time.tm_mon, time.tm_mday) = (year - 1900, CInt(month), day)
        (time.tm_hour, time.tm_min, time.tm_sec) = (hour, minute, second)
        return timegm(&time)
    }

    private static func clockAhead(_ answer: S3Client.Answer) -> Int? {
        answer.headers.first(name: "date").flatMap { seconds($0) }.map { $0 - time(nil) }
    }
}

extension StoreFault {
    fileprivate init(_ error: any Error, _ operation: String) {
        switch error {
        case let fault as StoreFault: self = fault
        case BlobStorageError.unavailable(let reason): self.init(.unreachable, operation, reason)
        default: self.init(.other, operation, "\(error)")
        }
    }

    /// What an answer with an error means.
    /// Source: [S3 error responses](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
    init(_ answer: S3Client.Answer, _ operation: String) {
        self.init(
            status: answer.status,
            body: answer.text,
            region: answer.headers.first(name: "x-amz-bucket-region"),
            operation
        )
    }

    /// What stores say that have no room, or none for us: the second is MinIO's, of a bucket with a quota.
    static let codesOfFull: Set = ["QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"]

    init(status: Int, body: String, region: String?, _ operation: String) {
        let code = XMLText.first("Code", in: body) ?? ""
        let reason: Reason =
            switch code {
            case "NoSuchBucket": .noBucket
            case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity":
                .wrongCredentials
            case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
                "IllegalLocationConstraintException":
                .wrongRegion(XMLText.first("Region", in: body) ?? region)
            case "RequestTimeTooSkewed", "RequestExpired": .clockSkew
            case _ where status == 507 || Self.codesOfFull.contains(code): .full
            default: status == 403 ? .notAllowed : .other
            }
        let message = XMLText.first("Message", in: body) ?? ""
        self.init(reason, operation, [String(status), code, message].filter { !$0.isEmpty }.joined(separator: " "))
    }
}
