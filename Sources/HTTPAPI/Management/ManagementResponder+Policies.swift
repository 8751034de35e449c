import Access
import HTTPSyntax
import Metadata
import NIOHTTP1
import OCI
import RegistryCore
import Retention

extension ManagementResponder {
    func policies(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantAdministration()
        let limit = try call.limit()
        let page = try await registry.policies(after: call.last, limit: limit, with: grant)
        return call.list(page, limit: limit, showing: try page.items.map { try PolicyAnswer($0) }) { "\($0.scope)" }
    }

    /// The document itself, so that it can be changed and sent back; its version is the entity tag.
    func policy(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantPolicy()
        guard let stored = try await registry.policy(with: grant), let policy = stored.policy else {
            throw RegistryError.noPolicy(of: grant.scope)
        }
        return HTTPResponse(.ok, Self.entityTag(of: stored), text: policy.canonical, type: "application/json")
    }

    func setPolicy(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantPolicy()
        let expected = try await expectedVersion(call, grant)
        let policy = try RetentionPolicy(requested: try await call.bytes())
        let stored = try await registry.setPolicy(policy, replacing: expected, with: grant)
        return HTTPResponse(.ok, Self.entityTag(of: stored), json: try PolicyAnswer(stored))
    }

    func removePolicy(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantPolicy()
        let expected = try await expectedVersion(call, grant)
        guard let current = try await registry.policy(with: grant) else {
            throw RegistryError.noPolicy(of: grant.scope)
        }
        // Without a condition it is this one that is removed, and none that came since.
        _ = try await registry.setPolicy(nil, replacing: expected ?? current.version, with: grant)
        return HTTPResponse(.noContent)
    }

    func policyVersions(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grantPolicy()
        let limit = try call.limit()
        let last = call.last.isEmpty ? nil : ByteRange.number(call.last)
        guard last != nil || call.last.isEmpty else { throw call.unknownPage }
        let page = try await registry.policyVersions(before: last.map { Int($0) }, limit: limit, with: grant)
        return call.list(page, limit: limit, showing: try page.items.map { try PolicyAnswer($0) }) { "\($0.version)" }
    }

    private static func entityTag(of stored: PolicyVersion) -> HTTPHeaders { ["ETag": "\"\(stored.version)\""] }

    /// What a write asks of the version that holds: 0 for none, nil for any or none.
    private func expectedVersion(_ call: ManagementCall, _ grant: PolicyGrant) async throws -> Int? {
        switch (call.request.header("If-Match"), call.request.header("If-None-Match")) {
        case (nil, nil): return nil
        case (nil, "*"): return 0
        case ("*", nil): return try await registry.policy(with: grant)?.version ?? -1
        case (let tag?, nil):
            // What is no version of ours matches nothing, but still is a condition.
            return Int(tag.trimmed.filter { $0 != "\"" }) ?? -1
        default:
            throw RegistryError(.requestInvalid, "Send If-Match with one version, or If-None-Match with '*'.")
        }
    }
}

extension ManagementCall {
    /// The right to say what is kept in the scope that the path names.
    fileprivate func grantPolicy() async throws -> PolicyGrant {
        let scope = try RetentionScope(requested: self["scope"])
        guard case .repository(let name) = scope else {
            return PolicyGrant(of: scope, try await grantAdministration())
        }
        return PolicyGrant(try await authorizer.grant(Administer.self, on: name, to: .anonymous))
    }
}

extension RetentionScope {
    /// - Throws: ``RegistryError`` `.requestInvalid`.
    init(requested text: String) throws {
        do {
            try self.init(parsing: text)
        } catch {
            throw RegistryError(.requestInvalid, "\(error)", detail: ["scope": String(text.prefix(300))])
        }
    }
}

extension RetentionPolicy {
    /// - Throws: ``RegistryError`` `.requestInvalid` with everything that is wrong.
    init(requested document: some Sequence<UInt8>) throws {
        do { try self.init(decoding: document) } catch let error as RetentionPolicyError { throw RegistryError(error) }
    }

    /// - Throws: ``RegistryError`` `.requestInvalid` with everything that is wrong.
    init?(requested key: String, in document: [UInt8]) throws {
        do { try self.init(of: key, in: document) } catch let error as RetentionPolicyError {
            throw RegistryError(error)
        }
    }
}

extension RegistryError {
    fileprivate init(_ error: RetentionPolicyError) {
        self.init(
            error.problems.map { .init(.requestInvalid, "\($0)", detail: $0.path.isEmpty ? [:] : ["path": $0.path]) }
        )
    }

    fileprivate static func noPolicy(of scope: RetentionScope) -> RegistryError {
        RegistryError(.notFound, "There is no policy of \(scope).", detail: ["scope": "\(scope)"])
    }
}

private struct PolicyAnswer: Encodable {
    let scope: String
    let version: Int
    let createdAt: Int64
    /// Nil where the policy was removed.
    let policy: JSONValue?

    init(_ stored: PolicyVersion) throws {
        (scope, version, createdAt) = ("\(stored.scope)", stored.version, stored.createdAt)
        policy = try stored.policy.map { try JSONValue(parsing: $0.canonical) }
    }
}
