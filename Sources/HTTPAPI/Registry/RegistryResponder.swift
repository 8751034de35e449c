package import Access
import NIOHTTP1
import OCI
package import RegistryCore

/// The distribution API: parsed route, grant, one call of the registry, response.
package struct RegistryResponder: Sendable {
    let registry: Registry
    let authorizer: Authorizer
    let networks: ClientNetworks

    package init(registry: Registry, authorizer: Authorizer, networks: ClientNetworks) {
        self.registry = registry
        self.authorizer = authorizer
        self.networks = networks
    }

    /// The table of contents of `/v2/`.
    func respond(to request: HTTPRequest, _ route: RegistryRoute) async throws -> HTTPResponse {
        switch (route, request.method) {
        case (.base, .GET), (.base, .HEAD):
            return HTTPResponse(.ok, Self.versionHeader, text: "{}", type: "application/json")
        case (.catalog, .GET), (.catalog, .HEAD): return try await catalog(request)
        case (.extensions, .GET), (.extensions, .HEAD):
            return HTTPResponse(.ok, text: #"{"extensions":[]}"#, type: "application/json")
        case (.manifest(let name, let reference), .GET), (.manifest(let name, let reference), .HEAD):
            return try await getManifest(request, name, reference)
        case (.manifest(let name, let reference), .PUT): return try await putManifest(request, name, reference)
        case (.manifest(let name, let reference), .DELETE): return try await deleteManifest(request, name, reference)
        case (.blob(let name, let digest), .GET): return try await getBlob(request, name, digest)
        case (.blob(let name, let digest), .HEAD): return try await headBlob(request, name, digest)
        case (.blob(let name, let digest), .DELETE): return try await deleteBlob(name, digest)
        case (.uploads(let name), .POST): return try await startUpload(request, name)
        case (.upload(let name, let id), .GET), (.upload(let name, let id), .HEAD):
            return try await uploadStatus(name, id)
        case (.upload(let name, let id), .PATCH): return try await patchUpload(request, name, id)
        case (.upload(let name, let id), .PUT): return try await finishUpload(request, name, id)
        case (.upload(let name, let id), .DELETE): return try await cancelUpload(name, id)
        case (.tags(let name), .GET), (.tags(let name), .HEAD): return try await tags(request, name)
        case (.referrers(let name, let digest), .GET), (.referrers(let name, let digest), .HEAD):
            return try await referrers(request, name, digest)
        default:
            let error = RegistryError(.unsupported, "This path answers \(route.methods), not \(request.method).")
            return ErrorEnvelope.response(to: error, ["Allow": route.methods])
        }
    }

    /// Old clients look for it to know a registry.
    static let versionHeader: HTTPHeaders = ["Docker-Distribution-API-Version": "registry/2.0"]

    func grant<Action: RepositoryAction>(_ action: Action.Type, on name: String) async throws -> Grant<Action> {
        try await authorizer.grant(action, on: try RepositoryName(requested: name), to: .anonymous)
    }

    func parseDigest(_ text: String?) throws -> Digest {
        guard let text else { throw RegistryError(.digestInvalid, "Say the content's digest: ?digest=sha256:…") }
        return try Digest(requested: text)
    }
}
