import AsyncHTTPClient
import FoundationEssentials
import Logging
import NIOCore
import NIOHTTP1
import OCI
import Synchronization

/// Objects in an S3-compatible store, under `<prefix><first two digits of the key>/<key>`.
///
/// Only requests that every such store has are used, and of each only what AWS, Ceph and SeaweedFS agree on; nothing is
/// copied, and nothing listed but for audits.
package struct S3BlobStore: BlobStore, ObjectURLSigner {
    let client: S3Client
    let budget: ByteBudget
    private let tagRule = TagRule()

    /// Whether this store's entity tag of an object in parts is that which AWS's rule makes of those of its parts. Where an
    /// object is encrypted with a key, and at some stores, it is not; the last upload that was ours alone tells.
    private final class TagRule: Sendable {
        let holds = Atomic(true)
    }

    package init(_ client: S3Client) {
        self.client = client
        budget = ByteBudget(client.configuration.uploadMemory)
    }

    package var deletesForGood: Bool { false }

    package func close() async throws { try await client.shutdown() }

    package var preferredChunk: Int { 8 * PartPlan.mebibyte }

    package func makeWriter(expecting length: ObjectLength?, _ keys: @escaping KeySource) async throws -> any BlobWriter
    {
        S3Writer(self, length: length, keys)
    }

    package func makeWriter(
        continuing progress: ObjectProgress,
        expecting length: ObjectLength?,
        _ keys: @escaping KeySource
    ) async throws -> any BlobWriter {
        guard let state = S3UploadState(progress.state) else { throw BlobStorageError.missing(progress.key) }
        return S3Writer(self, continuing: progress, state, length: length, keys)
    }

    package func open(_ key: StorageKey, size: Int64) async throws -> StoredObject {
        .remote(RemoteObject(client: client, key: key, size: size))
    }

    package func size(of key: StorageKey) async throws -> Int64? {
        let answer = try await client.send(.HEAD, client.configuration.name(of: key), accepts: [404])
        guard answer.status != 404 else { return nil }
        guard let size = answer.headers.first(name: "content-length").flatMap({ Int64($0) }) else {
            throw BlobStorageError.refused("the store does not say how long \(key) is")
        }
        return size
    }

    package func delete(_ key: StorageKey) async throws {
        _ = try await client.send(.DELETE, client.configuration.name(of: key), accepts: [404])
    }

    package func discard(_ progress: ObjectProgress) async throws {
        if let upload = S3UploadState(progress.state)?.upload { try await abort(upload, of: progress.key) }
        if let tail = progress.tail { try await delete(tail) }
        try await delete(progress.key)
    }

    /// Asks for the uploads of one key, which only abandoned ones need. A store that does not let us look for them gives
    /// the object's bytes back; but their parts stay, and nobody else knows of them, so the key must not be forgotten.
    package func purge(_ key: StorageKey) async throws {
        do {
            for id in Self.uploads(in: try await client.send(.GET, nil, uploadsQuery(key)).text) {
                try await abort(id, of: key)
            }
        } catch BlobStorageError.refused(let reason) {
            try await delete(key)
            throw BlobStorageError.refused(
                "\(reason). What an upload left there stays until it allows s3:ListBucketMultipartUploads and "
                    + "s3:AbortMultipartUpload; then it goes by itself"
            )
        }
        try await delete(key)
    }

    /// Asks for the uploads in parts of one key.
    func uploadsQuery(_ key: StorageKey) -> [(String, String)] {
        [("prefix", client.configuration.name(of: key)), ("uploads", "")]
    }

    /// The ids in the answer to ``uploadsQuery(_:)``.
    static func uploads(in xml: String) -> [String] {
        XMLText.elements("Upload", in: xml).compactMap { XMLText.first("UploadId", in: $0) }
    }

    func abort(_ upload: String, of key: StorageKey) async throws {
        let name = client.configuration.name(of: key)
        _ = try await client.send(.DELETE, name, [("uploadId", upload)], accepts: [404])
    }

    package func forEachObject(_ body: @escaping @Sendable (ListedObject) async throws -> Void) async throws {
        let prefix = client.configuration.prefix
        var token: String?
        repeat {
            var query = [("list-type", "2"), ("prefix", prefix)]
            if let token { query.append(("continuation-token", token)) }
            let xml = try await client.send(.GET, nil, query).text
            for item in XMLText.elements("Contents", in: xml) {
                guard let name = XMLText.first("Key", in: item), let last = name.split(separator: "/").last,
                    let key = StorageKey(last), let size = XMLText.first("Size", in: item).flatMap({ Int64($0) }),
                    let modified = XMLText.first("LastModified", in: item).flatMap({ Self.time($0) })
                else { continue }
                try await body(ListedObject(key: key, size: size, modifiedAt: modified))
            }
            token = XMLText.first("NextContinuationToken", in: xml)
        } while token != nil
    }

    /// Seconds since 1970 of a time as lists have it, with fractions of a second or without.
    private static func time(_ text: String) -> Int64? {
        let whole = text.prefix { $0 != "." && $0 != "Z" } + "Z"
        return (try? Date(String(whole), strategy: .iso8601)).map { Int64($0.timeIntervalSince1970) }
    }

    package func checkHealth() async throws {
        _ = try await client.send(.GET, nil, healthQuery)
    }

    /// Asks for a list, which needs no right that `verify` does not, of names that no object has: it is empty and costs the
    /// same in any bucket.
    var healthQuery: [(String, String)] {
        [("list-type", "2"), ("max-keys", "1"), ("prefix", client.configuration.prefix + "health")]
    }

    package var keyGeneration: Int { client.credentials.replacements.load(ordering: .relaxed) }

    package func signedURL(of key: StorageKey, lifetime: Int) async throws -> SignedURL {
        let type = [("response-content-type", "application/octet-stream")]
        return try await client.presigned(client.configuration.name(of: key), type, lifetime: lifetime)
    }

    // MARK: - Requests of a writer

    func put(_ chunks: [ByteBuffer], count: Int, to key: StorageKey) async throws {
        let name = client.configuration.name(of: key)
        _ = try await client.send(.PUT, name, body: .chunks(chunks, count: count))
    }

    func startUpload(of key: StorageKey) async throws -> String {
        let name = client.configuration.name(of: key)
        let answer = try await client.send(.POST, name, [("uploads", "")])
        guard let id = XMLText.first("UploadId", in: answer.text) else {
            throw BlobStorageError.refused("the store began an upload without an id")
        }
        return id
    }

    /// - Returns: the part's entity tag.
    func putPart(_ number: Int, of upload: String, _ key: StorageKey, _ chunks: [ByteBuffer], count: Int) async throws
        -> String
    {
        let query = [("partNumber", "\(number)"), ("uploadId", upload)]
        let name = client.configuration.name(of: key)
        let answer = try await client.send(.PUT, name, query, body: .chunks(chunks, count: count), accepts: [404])
        // Completed or aborted by a request that we know nothing of.
        guard answer.status != 404 else { throw BlobStorageError.missing(key) }
        guard let tag = answer.headers.first(name: "etag") else {
            throw BlobStorageError.refused("the store took a part without an entity tag")
        }
        return tag
    }

    /// Puts the parts together.
    ///
    /// - Parameter isShared: whether other requests may know of the upload.
    /// - Returns: whether the object is certain to be of these parts.
    func complete(
        _ upload: String,
        of key: StorageKey,
        _ parts: [S3UploadState.Part],
        size: Int64,
        isShared: Bool = false
    ) async throws -> Bool {
        let list = parts.enumerated().map {
            "<Part><PartNumber>\($0 + 1)</PartNumber><ETag>\(XMLText.escaped($1.tag))</ETag></Part>"
        }.joined()
        let name = client.configuration.name(of: key)
        let xml = "<CompleteMultipartUpload>\(list)</CompleteMultipartUpload>"
        let query = [("uploadId", upload)]
        let answer = try await client.send(.POST, name, query, body: .text(xml), accepts: [400, 404])
        // It has other bytes for a part than those whose tag we were given.
        if answer.status == 400 {
            guard ["InvalidPart", "InvalidPartOrder", "EntityTooSmall"].contains(answer.errorCode) else {
                throw BlobStorageError.refused("completing \(key): \(answer.errorCode)")
            }
            throw BlobStorageError.missing(key)
        }
        // An earlier try whose answer was lost may have done it: then the upload is gone and the object there. But so they
        // are after another request's, with another last part; SeaweedFS answers 200 even then.
        let found = try await client.send(.HEAD, name, accepts: [404])
        guard found.status == 200, found.headers.first(name: "content-length").flatMap({ Int64($0) }) == size else {
            throw answer.status == 404
                ? BlobStorageError.missing(key)
                : BlobStorageError.refused("the store completed \(key) with another size than \(size) bytes")
        }
        let hasOurTag = found.headers.first(name: "etag") == S3UploadState.tag(of: parts)
        guard isShared else {
            tagRule.holds.store(hasOurTag, ordering: .relaxed)
            return true
        }
        return hasOurTag || (answer.status == 200 && !tagRule.holds.load(ordering: .relaxed))
    }

    /// The whole of a small object.
    func read(_ key: StorageKey, size: Int) async throws -> [ByteBuffer] {
        let reader = RemoteObject(client: client, key: key, size: Int64(size)).reader(0..<Int64(size), for: .ourselves)
        var chunks: [ByteBuffer] = []
        while let chunk = try await reader.next() { chunks.append(chunk) }
        return chunks
    }
}
