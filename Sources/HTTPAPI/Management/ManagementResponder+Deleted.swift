import Access
import Metadata
import NIOHTTP1
import OCI
import RegistryCore

extension ManagementResponder {
    func deleted(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Delete.self)
        let limit = try call.limit()
        let last = DeletedEntry.Key(call.last)
        guard last != nil || call.last.isEmpty else { throw call.unknownPage }
        let page = try await registry.deletedEntries(after: last, limit: limit, with: grant)
        return call.list(page, limit: limit, key: \.key.description)
    }

    /// Puts back a tag or a manifest, or the repository if neither is named.
    func restore(_ call: ManagementCall) async throws -> HTTPResponse {
        let body = try await call.body(Restoration.self)
        guard let text = body.reference else {
            let grant = try await call.grant(Administer.self)
            try await registry.restoreRepository(deletedAt: body.deletedAt, with: grant)
            return HTTPResponse(.ok, json: RestorationAnswer(repository: grant.repository.text))
        }
        guard body.deletedAt == nil else {
            throw RegistryError(.requestInvalid, "deletedAt says which repository, not which tag or manifest.")
        }
        let grant = try await call.grant(Delete.self)
        let restored = try await registry.restore(
            try Reference(requested: text, refusing: .tagInvalid),
            with: grant
        )
        return HTTPResponse(
            .ok,
            json: RestorationAnswer(
                repository: grant.repository.text,
                tags: restored.tags.map(\.text),
                manifests: restored.manifests.map(\.description)
            )
        )
    }

    private struct Restoration: JSONBody {
        let reference: String?
        /// Milliseconds since 1970.
        let deletedAt: Int64?

        enum CodingKeys: String, CodingKey, CaseIterable { case reference, deletedAt }
    }

    private struct RestorationAnswer: Encodable {
        let repository: String
        /// Nil where the repository was put back as a whole.
        var tags: [String]?
        var manifests: [String]?
    }
}
