import Access
import Metadata
import NIOHTTP1
import OCI
import RegistryCore

extension ManagementResponder {
    func repositories(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantCatalog()
        let limit = try call.limit()
        let page = try await registry.repositoryEntries(after: call.last, limit: limit, with: grant)
        return call.list(page, limit: limit, key: \.name)
    }

    func repository(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Pull.self)
        return HTTPResponse(.ok, json: try await registry.repositoryEntry(with: grant))
    }

    func deleteRepository(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Administer.self)
        return HTTPResponse(.ok, json: Deletion(restorableUntil: try await registry.deleteRepository(with: grant)))
    }

    func deletedRepositories(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantAdministration()
        let limit = try call.limit()
        let last = DeletedRepository.Key(call.last)
        guard last != nil || call.last.isEmpty else { throw call.unknownPage }
        let page = try await registry.deletedRepositories(after: last, limit: limit, with: grant)
        return call.list(page, limit: limit, key: \.key.description)
    }
}

/// The answer to a deletion.
struct Deletion: Encodable {
    /// Milliseconds since 1970.
    let restorableUntil: Int64
}
