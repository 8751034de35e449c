import HTTPSyntax
import Access
import NIOHTTP1
import OCI
import RegistryCore

extension RegistryResponder {
    func startUpload(_ request: HTTPRequest, _ name: String) async throws -> HTTPResponse {
        let grant = try await grant(Push.self, on: name)
        if let text = request.query["mount"], let mounted = try await mount(text, request, grant) { return mounted }
        if let text = request.query["digest"] {
            let digest = try parseDigest(text)
            try await registry.pushBlob(digest, try chunk(of: request), with: grant)
            return created(digest, grant)
        }
        var algorithm = DigestAlgorithm.sha256
        if let text = request.query["digest-algorithm"] {
            do {
                algorithm = try DigestAlgorithm(parsing: text)
            } catch {
                throw RegistryError(.digestInvalid, "\(error)")
            }
        }
        let id = registry.startUpload(algorithm: algorithm, with: grant)
        var headers = uploadHeaders("\(id)", received: 0, grant)
        // Any length will do; where objects are stored in parts, larger chunks are cheaper.
        headers.add(name: "OCI-Chunk-Min-Length", value: "\(registry.preferredChunk)")
        return HTTPResponse(.accepted, headers)
    }

    /// Nil if the blob cannot be mounted, for whatever reason: the client then uploads it. Telling it anything but 202
    /// makes clients give up (containerd on 403, podman on a second challenge).
    private func mount(_ text: String, _ request: HTTPRequest, _ grant: Grant<Push>) async throws -> HTTPResponse? {
        var source: Grant<Pull>?
        guard let digest = try? Digest(parsing: text) else {
            registry.countUnmountable()
            return nil
        }
        if let from = request.query["from"], !from.isEmpty {
            guard let repository = try? RepositoryName(parsing: from) else {
                registry.countUnmountable()
                return nil
            }
            source = try await authorizer.grant(Pull.self, on: repository, to: grant.principal)
        }
        return try await registry.mount(digest, from: source, with: grant) ? created(digest, grant) : nil
    }

    func uploadStatus(_ name: String, _ id: String) async throws -> HTTPResponse {
        let grant = try await grant(Push.self, on: name)
        let received = try await registry.uploadStatus(id, with: grant)
        return HTTPResponse(.noContent, uploadHeaders(id, received: received, grant))
    }

    func patchUpload(_ request: HTTPRequest, _ name: String, _ id: String) async throws -> HTTPResponse {
        let grant = try await grant(Push.self, on: name)
        do {
            let received = try await registry.appendUpload(id, try chunk(of: request), with: grant)
            return HTTPResponse(.accepted, uploadHeaders(id, received: received, grant))
        } catch let error as ChunkOutOfOrder {
            return outOfOrder(error, id, grant)
        }
    }

    func finishUpload(_ request: HTTPRequest, _ name: String, _ id: String) async throws -> HTTPResponse {
        let grant = try await grant(Push.self, on: name)
        let digest = try parseDigest(request.query["digest"])
        do {
            try await registry.finishUpload(id, as: digest, try chunk(of: request), with: grant)
            return created(digest, grant)
        } catch let error as ChunkOutOfOrder {
            return outOfOrder(error, id, grant)
        }
    }

    func cancelUpload(_ name: String, _ id: String) async throws -> HTTPResponse {
        // Whoever may push may give up: podman cancels sessions with no right to delete.
        let grant = try await grant(Push.self, on: name)
        try await registry.cancelUpload(id, with: grant)
        return HTTPResponse(.noContent)
    }

    private func chunk(of request: HTTPRequest) throws -> UploadChunk {
        var range: ClosedRange<Int64>?
        if let text = request.header("Content-Range") {
            guard let parsed = ContentRange.parse(text) else {
                throw RegistryError(.blobUploadInvalid, "Content-Range must be FIRST-LAST, such as 0-1023.")
            }
            range = parsed
        }
        let body = request.body
        return UploadChunk(range: range, length: body.length, body: { try await body.next() })
    }

    private func created(_ digest: Digest, _ grant: Grant<Push>) -> HTTPResponse {
        HTTPResponse(
            .created,
            ["Location": "/v2/\(grant.repository)/blobs/\(digest)", "Docker-Content-Digest": "\(digest)"]
        )
    }

    /// `Range` is inclusive, so that nothing received looks like one byte: docker reads `0-0` and begins at 0.
    private func uploadHeaders(_ id: String, received: Int64, _ grant: Grant<Push>) -> HTTPHeaders {
        [
            "Location": "/v2/\(grant.repository)/blobs/uploads/\(id)",
            "Range": "0-\(max(received - 1, 0))",
            "Docker-Upload-UUID": id,
        ]
    }

    private func outOfOrder(_ error: ChunkOutOfOrder, _ id: String, _ grant: Grant<Push>) -> HTTPResponse {
        let message = "The upload stands at \(error.received) bytes; send the chunk that begins there."
        let entry = RegistryError.Entry(.blobUploadInvalid, message, detail: ["received": "\(error.received)"])
        return ErrorEnvelope.response(
            [entry],
            status: .rangeNotSatisfiable,
            uploadHeaders(id, received: error.received, grant)
        )
    }
}
