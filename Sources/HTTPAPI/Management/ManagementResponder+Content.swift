import Access
import Metadata
import NIOHTTP1
import OCI
import RegistryCore

extension ManagementResponder {
    func tags(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Pull.self)
        let limit = try call.limit()
        let page = try await registry.tagEntries(after: call.last, limit: limit, with: grant)
        return call.list(page, limit: limit, key: \.name)
    }

    func deleteTag(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Delete.self)
        let tag = try Tag(requested: call["tag"], refusing: .manifestUnknown)
        return try await delete(.tag(tag), call, grant)
    }

    /// A page is one of all manifests: with `untagged` those that have a name are left out of it, so that a request costs
    /// the same however few there are.
    func manifests(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Pull.self)
        let limit = try call.limit()
        let last = try call.last.isEmpty ? nil : Digest(requested: call.last)
        let untagged = try call.isTrue("untagged")
        let page = try await registry.manifestEntries(after: last, limit: limit, with: grant)
        let shown = page.items.filter { $0.isUntagged || !untagged }
        return call.list(page, limit: limit, showing: shown, key: \.digest)
    }

    func deleteManifest(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Delete.self)
        return try await delete(.digest(try call.digest()), call, grant)
    }

    private func delete(_ reference: Reference, _ call: ManagementCall, _ grant: Grant<Delete>) async throws
        -> HTTPResponse
    {
        let condition = try EntityTag.condition(call.request.headers)
        let until = try await registry.deleteManifest(reference, condition: condition, with: grant)
        return HTTPResponse(.ok, json: Deletion(restorableUntil: until))
    }
}
