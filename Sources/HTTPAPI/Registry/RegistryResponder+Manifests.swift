import HTTPSyntax
import Access
import Foundation
import Metadata
import NIOCore
import NIOHTTP1
import OCI
import RegistryCore

extension RegistryResponder {
    func getManifest(_ request: HTTPRequest, _ name: String, _ text: String) async throws -> HTTPResponse {
        let grant = try await grant(Pull.self, on: name)
        let reference = try Reference(requested: text, refusing: .manifestUnknown)
        let manifest = try await registry.manifest(reference, promising: request.method == .HEAD, with: grant)
        var headers: HTTPHeaders = [
            "Docker-Content-Digest": "\(manifest.digest)",
            "ETag": EntityTag.text(manifest.digest),
            "Vary": "Accept, Authorization",
            "Cache-Control": Self.cacheControl(reference),
        ]
        if let expiry = manifest.expiresAt, let warning = ExpiryWarning(expiry, now: Date.now) {
            headers.add(name: "Warning", value: warning.text)
        }
        if EntityTag.isKnown(manifest.digest, to: request.headers) { return HTTPResponse(.notModified, headers) }
        headers.add(name: "Content-Type", value: manifest.mediaType)
        return HTTPResponse(.ok, headers, .bytes(ByteBuffer(bytes: manifest.bytes)))
    }

    /// A digest names the same bytes for ever; a tag may name others the next moment.
    static func cacheControl(_ reference: Reference) -> String {
        switch reference {
        case .digest: "private, max-age=31536000, immutable"
        case .tag: "private, no-cache"
        }
    }

    func putManifest(_ request: HTTPRequest, _ name: String, _ text: String) async throws -> HTTPResponse {
        let grant = try await grant(Push.self, on: name)
        let reference = try Reference(requested: text, refusing: .tagInvalid)
        let tags = try request.query.all("tag").map { try Tag(requested: $0, refusing: .tagInvalid) }
        guard tags.count <= Self.maximumTags else {
            throw RegistryError(
                .tagInvalid,
                "A push accepts at most \(Self.maximumTags) tags; this one has \(tags.count)."
            )
        }
        let condition = try EntityTag.condition(request.headers)
        let limit = registry.policy.maximumManifestSize
        guard let bytes = try await request.body.collect(upTo: limit) else {
            let message = "The manifest is larger than this registry accepts (\(limit) bytes)."
            return ErrorEnvelope.response([.init(.sizeInvalid, message)], status: .payloadTooLarge)
        }
        let upload = ManifestUpload(
            bytes: Array(bytes.readableBytesView),
            mediaType: request.header("Content-Type"),
            reference: reference,
            tags: tags,
            condition: condition
        )
        let manifest = try await registry.putManifest(upload, with: grant)
        var headers: HTTPHeaders = [
            "Location": "/v2/\(grant.repository)/manifests/\(manifest.digest)",
            "Docker-Content-Digest": "\(manifest.digest)",
            "ETag": EntityTag.text(manifest.digest),
        ]
        if let subject = manifest.subject { headers.add(name: "OCI-Subject", value: "\(subject)") }
        for tag in tags { headers.add(name: "OCI-Tag", value: tag.text) }
        return HTTPResponse(.created, headers)
    }

    /// Most tags of one push. The specification asks for at least 10.
    private static let maximumTags = 100

    func deleteManifest(_ request: HTTPRequest, _ name: String, _ text: String) async throws -> HTTPResponse {
        let grant = try await grant(Delete.self, on: name)
        let reference = try Reference(requested: text, refusing: .manifestUnknown)
        let condition = try EntityTag.condition(request.headers)
        try await registry.deleteManifest(reference, condition: condition, with: grant)
        return HTTPResponse(.accepted)
    }
}
