import HTTPSyntax
import Access
import BlobStorage
import NIOCore
import NIOHTTP1
import OCI
import RegistryCore

extension RegistryResponder {
    func headBlob(_ request: HTTPRequest, _ name: String, _ text: String) async throws -> HTTPResponse {
        let grant = try await grant(Pull.self, on: name)
        let digest = try parseDigest(text)
        let size = try await registry.blobSize(digest, with: grant)
        var headers = Self.blobHeaders(digest)
        if EntityTag.isKnown(digest, to: request.headers) { return HTTPResponse(.notModified, headers) }
        headers.add(name: "Content-Length", value: "\(size)")
        return HTTPResponse(.ok, headers)
    }

    func getBlob(_ request: HTTPRequest, _ name: String, _ text: String) async throws -> HTTPResponse {
        let grant = try await grant(Pull.self, on: name)
        let digest = try parseDigest(text)
        let reachesStore = registry.downloads != nil && networks.reachStore(request)
        let blob = try await registry.blob(digest, reachesStore: reachesStore, with: grant)
        var headers = Self.blobHeaders(digest)
        if EntityTag.isKnown(digest, to: request.headers) { return HTTPResponse(.notModified, headers) }
        if case .elsewhere(let url) = blob.content {
            // The URL expires; whoever kept this answer would send others to a dead end.
            headers.replaceOrAdd(name: "Cache-Control", value: "no-store")
            headers.remove(name: "Content-Type")
            headers.add(name: "Location", value: url)
            return HTTPResponse(.temporaryRedirect, headers)
        }
        // If-Range holds our entity tag or asks for all of it: dates we do not have.
        let isCurrent = request.header("If-Range").map { $0.trimmed == EntityTag.text(digest) } ?? true
        switch ByteRange(isCurrent ? request.header("Range") : nil, size: blob.size) {
        case .whole:
            return HTTPResponse(.ok, headers, blob.content.body(0..<blob.size))
        case .part(let range):
            headers.add(name: "Content-Range", value: "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(blob.size)")
            return HTTPResponse(.partialContent, headers, blob.content.body(range))
        case .unsatisfiable:
            let message = "The blob has \(blob.size) bytes; the range asked for is outside."
            let entry = RegistryError.Entry(.sizeInvalid, message)
            return ErrorEnvelope.response(
                [entry],
                status: .rangeNotSatisfiable,
                ["Content-Range": "bytes */\(blob.size)", "Accept-Ranges": "bytes"]
            )
        }
    }

    private static func blobHeaders(_ digest: Digest) -> HTTPHeaders {
        [
            "Docker-Content-Digest": "\(digest)",
            "ETag": EntityTag.text(digest),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "Cache-Control": cacheControl(.digest(digest)),
        ]
    }

    func deleteBlob(_ name: String, _ text: String) async throws -> HTTPResponse {
        let grant = try await grant(Delete.self, on: name)
        try await registry.deleteBlob(try parseDigest(text), with: grant)
        return HTTPResponse(.accepted)
    }
}

extension BlobContent {
    fileprivate func body(_ range: Range<Int64>) -> HTTPResponse.Body {
        switch self {
        case .bytes(let bytes): .bytes(ByteBuffer(bytes: bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
        case .object(let object): .object(object, range)
        case .elsewhere: .none
        }
    }
}
