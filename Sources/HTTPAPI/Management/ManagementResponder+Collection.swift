import Access
import Metadata
import NIOHTTP1
import OCI
import RegistryCore

extension ManagementResponder {
    func explanation(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Pull.self)
        let digest = try call.digest()
        return try Self.response(to: try await registry.explain(digest, with: grant), of: digest)
    }

    func explanationAnywhere(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantAdministration()
        let digest = try call.digest()
        return try Self.response(to: try await registry.explain(digest, with: grant), of: digest)
    }

    private static func response(to explanation: Explanation, of digest: Digest) throws -> HTTPResponse {
        guard !explanation.isEmpty else { throw RegistryError.nothingStored(of: digest) }
        return HTTPResponse(.ok, json: explanation)
    }

    func collectionStatus(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantAdministration()
        return HTTPResponse(.ok, json: try await registry.collectionStatus(with: grant))
    }
}
