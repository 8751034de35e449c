import Access
import HTTPSyntax
import Metadata
import NIOHTTP1
import OCI
import RegistryCore
import Retention

extension ManagementResponder {
    /// Each page is of a plan of its own, made when it was asked for. Bytes that would be freed tell whether another repository
    /// has a blob, which is not for everybody who may pull.
    func previewRetention(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Administer.self)
        let limit = try call.limit()
        let bytes = try await call.bytes()
        let trial = try call.body(Trial.self, in: bytes).policy(in: grant.repository, bytes)
        let plan = try await registry.retentionPlan(trying: trial, with: grant)
        let (tags, untagged) = plan.page(after: call.last, limit: limit + 1)
        let page = Page(tags.map { PreviewItem.tag($0) } + untagged.map { .untagged($0) }, limit: limit)
        let next = call.next(page, limit: limit, key: \.key)
        let answer = PreviewAnswer(
            repository: plan.repository.text,
            madeAt: plan.madeAt,
            policies: plan.policies.map(\.identity),
            freed: plan.freed,
            items: page.items,
            next: next
        )
        return HTTPResponse(.ok, call.link(next), text: JSON.text(answer), type: "application/json")
    }

    func applyRetention(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Administer.self)
        _ = try await call.body(Nothing.self)
        return HTTPResponse(.ok, json: try await registry.applyRetention(with: grant))
    }

    func retentionHistory(_ call: ManagementCall) async throws -> HTTPResponse {
        let grant = try await call.grant(Administer.self)
        let limit = try call.limit()
        let last = call.last.isEmpty ? nil : ByteRange.number(call.last)
        guard last != nil || call.last.isEmpty else { throw call.unknownPage }
        let page = try await registry.retentionRuns(before: last, limit: limit, with: grant)
        return call.list(page, limit: limit) { "\($0.id)" }
    }
}

private struct Nothing: JSONBody {
    enum CodingKeys: CodingKey, CaseIterable {}
}

/// A policy to try in the place of the one that its scope has.
private struct Trial: JSONBody {
    private let policy: JSONValue?
    private let scope: String?

    enum CodingKeys: CodingKey, CaseIterable { case policy, scope }

    /// Nil if none is to be tried.
    ///
    /// - Parameter body: what this was read from. A policy is read from the very text, as when it is set.
    /// - Throws: ``RegistryError`` `.requestInvalid`.
    func policy(in repository: RepositoryName, _ body: [UInt8]) throws -> ScopedPolicy? {
        guard let policy = try RetentionPolicy(requested: "policy", in: body) else {
            guard scope == nil else { throw RegistryError(.requestInvalid, "A scope is that of a policy; send both.") }
            return nil
        }
        let scope = try self.scope.map { try RetentionScope(requested: $0) } ?? .repository(repository)
        guard RetentionScope.applying(to: repository).contains(scope) else {
            throw RegistryError(.requestInvalid, "A policy of \(scope) does not hold in \(repository).")
        }
        return ScopedPolicy(scope: scope, version: 0, policy: policy)
    }
}

private struct PreviewAnswer: Encodable {
    let repository: String
    let madeAt: Int64
    let policies: [String]
    let freed: RetentionPlan.Freed
    let items: [PreviewItem]
    let next: String?
}

/// Tags first: their names hold no colon and digests do, so that a key of one is never taken for one of the other.
private enum PreviewItem: Encodable, Sendable {
    case tag(RetentionPlan.TagPlan)
    case untagged(RetentionPlan.UntaggedPlan)

    var key: String {
        switch self {
        case .tag(let plan): plan.facts.name.text
        case .untagged(let plan): "\(plan.facts.digest)"
        }
    }

    func encode(to encoder: any Encoder) throws {
        switch self {
        case .tag(let plan): try plan.encode(to: encoder)
        case .untagged(let plan): try plan.encode(to: encoder)
        }
    }
}

extension RetentionPlan {
    /// The tags, and then the untagged manifests, after a key.
    fileprivate func page(after last: String, limit: Int) -> (tags: [TagPlan], untagged: [UntaggedPlan]) {
        let digest = try? Digest(parsing: last)
        let tags = digest == nil ? tags.filter { last.utf8.lexicographicallyPrecedes($0.facts.name.text.utf8) } : []
        let others = untagged.filter { item in digest.map { $0 < item.facts.digest } ?? true }
        let shown = Array(tags.prefix(limit))
        return (shown, Array(others.prefix(limit - shown.count)))
    }
}
