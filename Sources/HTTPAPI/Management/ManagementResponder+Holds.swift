import Access
import HTTPSyntax
import Metadata
import NIOHTTP1
import OCI
import RegistryCore
import Retention

extension ManagementResponder {
    func holds(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Pull.self)
        let limit = try call.limit()
        guard let last = call.last.isEmpty ? 0 : ByteRange.number(call.last) else { throw call.unknownPage }
        let page = try await registry.holds(after: last, limit: limit, with: grant)
        return call.list(page, limit: limit) { "\($0.id)" }
    }

    func setHold(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Administer.self)
        let hold = try await call.body(HoldRequest.self).hold
        return HTTPResponse(.ok, json: try await registry.setHold(hold, with: grant))
    }

    func releaseHold(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Administer.self)
        guard let id = ByteRange.number(call["id"]) else {
            throw RegistryError(.notFound, "The id of a hold is a number of at most 18 digits.")
        }
        try await registry.releaseHold(id, with: grant)
        return HTTPResponse(.noContent)
    }
}

private struct HoldRequest: JSONBody {
    let subject: String
    let kind: String
    let reason: String

    enum CodingKeys: String, CodingKey, CaseIterable { case subject, kind, reason }

    /// - Throws: ``RegistryError`` `.requestInvalid`.
    var hold: RetentionHold {
        get throws {
            guard let kind = RetentionHold.Kind(rawValue: kind) else {
                let kinds = RetentionHold.Kind.allCases.map(\.rawValue).joined(separator: " or ")
                throw RegistryError(.requestInvalid, "The kind of a hold is \(kinds).", detail: ["field": "kind"])
            }
            if let fault = RetentionHold.fault(ofReason: reason) {
                throw RegistryError(.requestInvalid, fault, detail: ["field": "reason"])
            }
            do {
                return RetentionHold(kind: kind, subject: try .init(parsing: subject), reason: reason)
            } catch {
                throw RegistryError(.requestInvalid, "\(error)", detail: ["field": "subject"])
            }
        }
    }
}
