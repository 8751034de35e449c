/// What a client of a registry does, with every answer checked. Used by one thread.
final class RegistryClient {
    private let http: HTTPClient

    init(_ endpoint: Endpoint) { http = HTTPClient(endpoint) }

    static let manifestType = "application/vnd.oci.image.manifest.v1+json"

    /// Most bytes of a list or a manifest that we keep.
    private static let maximumDocumentSize = 64 * 1024 * 1024

    // MARK: Blobs

    /// One POST and one PUT with the whole body, as containerd, oras and regctl do.
    func push(_ blob: Blob, to repository: String) throws {
        let opened = try http.send(HTTPRequest(method: "POST", path: "/v2/\(repository)/blobs/uploads/"))
        try finish(blob, opened)
    }

    /// One POST with the whole body.
    func pushAtOnce(_ blob: Blob, to repository: String) throws {
        let post = HTTPRequest(
            method: "POST",
            path: "/v2/\(repository)/blobs/uploads/?digest=\(blob.digest)",
            fields: [("Content-Type", "application/octet-stream")],
            body: blob.pieces
        )
        _ = try http.send(post).expect(201, "POST of a blob")
    }

    /// Makes a blob appear in a repository without sending it where that can be done.
    func mount(_ blob: Blob, from source: String, to repository: String) throws {
        let path = "/v2/\(repository)/blobs/uploads/?mount=\(blob.digest)&from=\(source)"
        let opened = try http.send(HTTPRequest(method: "POST", path: path))
        if opened.status != 201 { try finish(blob, opened) }
    }

    private func finish(_ blob: Blob, _ opened: HTTPResponse) throws {
        let location = try opened.expect(202, "POST of an upload").target()
        let put = HTTPRequest(
            method: "PUT",
            path: location + (location.contains("?") ? "&" : "?") + "digest=\(blob.digest)",
            fields: [("Content-Type", "application/octet-stream")],
            body: blob.pieces
        )
        let response = try http.send(put).expect(201, "PUT of a blob")
        guard response.field("docker-content-digest").map({ $0 == blob.digest }) ?? true else {
            throw LoadError("The registry stored a blob under another digest.")
        }
    }

    func put(_ blob: Blob, at path: String) throws {
        let put = HTTPRequest(method: "PUT", path: path, body: blob.pieces)
        _ = try http.send(put).expect(200, "PUT of \(path)")
    }

    func holds(_ blob: Blob, in repository: String) throws -> Bool {
        let head = HTTPRequest(method: "HEAD", path: "/v2/\(repository)/blobs/\(blob.digest)")
        let response = try http.send(head)
        return response.status == 404 ? false : try response.expect(200, "HEAD of a blob").status == 200
    }

    // MARK: Manifests and lists

    func push(manifest: [UInt8], to repository: String, as reference: String) throws {
        let put = HTTPRequest(
            method: "PUT",
            path: "/v2/\(repository)/manifests/\(reference)",
            fields: [("Content-Type", Self.manifestType)],
            body: [manifest]
        )
        _ = try http.send(put).expect(201, "PUT of a manifest")
    }

    /// - Parameter method: GET or HEAD.
    func manifest(_ path: String, method: String) throws -> HTTPResponse {
        let request = HTTPRequest(method: method, path: path, fields: [("Accept", Self.manifestType)])
        return try http.send(request).expect(200, "\(method) of a manifest")
    }

    /// A list and all pages that its Link fields lead to. - Returns: their bytes, with the bodies if wanted.
    func list(_ path: String, keepingPages: Bool) throws -> (bytes: Int, pages: [[UInt8]]) {
        var (next, bytes, pages) = (Optional(path), 0, [[UInt8]]())
        while let path = next {
            let response = try get(path, keeping: keepingPages ? Self.maximumDocumentSize : nil)
            bytes += response.bodyLength
            if keepingPages { pages.append(response.body) }
            next = response.field("link").flatMap { $0.split(separator: ">").first?.dropFirst() }.map(relative)
        }
        return (bytes, pages)
    }

    func get(_ path: String, keeping limit: Int? = nil) throws -> HTTPResponse {
        let response = try http.send(HTTPRequest(path: path), collecting: limit)
        // Elsewhere are the bytes, here the answer.
        return response.status == 307 ? response : try response.expect(200, "GET of \(path)")
    }
}

extension HTTPResponse {
    fileprivate func expect(_ status: Int, _ what: String) throws -> Self {
        guard self.status == status else { throw LoadError("\(what): \(self.status) instead of \(status).") }
        return self
    }

    fileprivate func target() throws -> String {
        guard let location = field("location") else { throw LoadError("An upload was opened without a Location.") }
        return relative(location)
    }
}

/// The path and query of a URL. Registries behind the same address write it with or without scheme and host.
private func relative(_ url: some StringProtocol) -> String {
    guard url.hasPrefix("http://") else { return String(url) }
    let rest = url.dropFirst("http://".count)
    return rest.firstIndex(of: "/").map { String(rest[$0...]) } ?? "/"
}
