package import Access
import HTTPSyntax
import NIOHTTP1
import OCI
package import RegistryCore

/// The management API: parsed route, grant, one call of the registry, JSON.
package struct ManagementResponder: Sendable {
    let registry: Registry
    let authorizer: Authorizer

    package init(registry: Registry, authorizer: Authorizer) {
        (self.registry, self.authorizer) = (registry, authorizer)
    }

    /// The table of contents of `/api/v1`. A HEAD is a GET whose body the server leaves out.
    func respond(to request: HTTPRequest, _ route: ManagementRoute) async throws -> HTTPResponse {
        let call = ManagementCall(request: request, route: route, authorizer: authorizer)
        switch (route.path, request.method == .HEAD ? .GET : request.method) {
        case (.document, .GET): return Self.document
        case (.repositories, .GET): return try await repositories(call)
        case (.repository, .GET): return try await repository(call)
        case (.repository, .DELETE): return try await deleteRepository(call)
        case (.deletedRepositories, .GET): return try await deletedRepositories(call)
        case (.restore, .POST): return try await restore(call)
        case (.tags, .GET): return try await tags(call)
        case (.tag, .DELETE): return try await deleteTag(call)
        case (.manifests, .GET): return try await manifests(call)
        case (.manifest, .DELETE): return try await deleteManifest(call)
        case (.deleted, .GET): return try await deleted(call)
        case (.holds, .GET): return try await holds(call)
        case (.holds, .POST): return try await setHold(call)
        case (.hold, .DELETE): return try await releaseHold(call)
        case (.retentionPreview, .POST): return try await previewRetention(call)
        case (.retentionApplication, .POST): return try await applyRetention(call)
        case (.retentionHistory, .GET): return try await retentionHistory(call)
        case (.policies, .GET): return try await policies(call)
        case (.policy, .GET): return try await policy(call)
        case (.policy, .PUT): return try await setPolicy(call)
        case (.policy, .DELETE): return try await removePolicy(call)
        case (.policyVersions, .GET): return try await policyVersions(call)
        case (.explanation, .GET): return try await explanation(call)
        case (.explanationAnywhere, .GET): return try await explanationAnywhere(call)
        case (.collection, .GET): return try await collectionStatus(call)
        default:
            let error = RegistryError(.unsupported, "This path answers \(route.methods), not \(request.method).")
            return ErrorEnvelope.response(to: error, ["Allow": route.methods])
        }
    }

    private static let document = HTTPResponse(.ok, text: APIDocument.text, type: "application/json")
}

/// One request of the management API: what it names, and who asks.
struct ManagementCall {
    let request: HTTPRequest
    let route: ManagementRoute
    let authorizer: Authorizer

    /// Most items of a page.
    static let maximumPage = 1000
    /// Items of a page whose size the client leaves to us.
    static let usualPage = 100
    /// Most bytes of a body: the largest policy, and what stands around it.
    static let maximumBody = 65 * 1024

    func grant<Action: RepositoryAction>(_ action: Action.Type) async throws -> Grant<Action> {
        try await authorizer.grant(action, on: try RepositoryName(requested: self["name"]), to: .anonymous)
    }

    func grantCatalog() async throws -> CatalogGrant { try await authorizer.grantCatalog(to: .anonymous) }

    func grantAdministration() async throws -> AdministrationGrant {
        try await authorizer.grantAdministration(to: .anonymous)
    }

    /// What stands in the place of a parameter of the path.
    subscript(_ parameter: String) -> String { route.values[parameter] ?? "" }

    func digest() throws -> Digest { try Digest(requested: self["digest"]) }

    /// Where the page begins; empty for the first one.
    var last: String { request.query["last"] ?? "" }

    /// What to answer if ``last`` is none.
    var unknownPage: RegistryError {
        RegistryError(.requestInvalid, "last must be as in the link to the next page.", detail: ["last": last])
    }

    /// How many items the page has at most.
    func limit() throws -> Int {
        guard let text = request.query["n"] else { return Self.usualPage }
        guard let number = ByteRange.number(text), number > 0 else {
            throw RegistryError(.paginationNumberInvalid, "n must be a whole number, 1 or more.")
        }
        return Int(min(number, Int64(Self.maximumPage)))
    }

    /// - Parameter flag: a parameter of the query that is `true`, `false` or not there.
    func isTrue(_ flag: String) throws -> Bool {
        switch request.query[flag] {
        case nil, "false": false
        case "true": true
        default: throw RegistryError(.requestInvalid, "\(flag) must be true or false.")
        }
    }

    /// A page of a list, and where the next one is.
    ///
    /// - Parameters:
    ///   - items: those of the page that are shown.
    ///   - key: what `last` is on the next page.
    func list<Item, Shown: Encodable>(
        _ page: Page<Item>,
        limit: Int,
        showing items: [Shown],
        key: (Item) -> String
    ) -> HTTPResponse {
        let next = next(page, limit: limit, key: key)
        return HTTPResponse(
            .ok,
            link(next),
            text: JSON.text(PageBody(items: items, next: next)),
            type: "application/json"
        )
    }

    func link(_ next: String?) -> HTTPHeaders { next.map { ["Link": "<\($0)>; rel=\"next\""] } ?? [:] }

    /// The path and query of the page after this one; nil if it is the last.
    func next<Item>(_ page: Page<Item>, limit: Int, key: (Item) -> String) -> String? {
        guard page.hasMore, let last = page.items.last else { return nil }
        let path = request.target.prefix { $0 != "?" }
        let others = request.query.items.filter { $0.name != "n" && $0.name != "last" }
            .map { "&\(percentEncoded($0.name))=\(percentEncoded($0.value))" }.joined()
        return "\(path)?n=\(limit)&last=\(percentEncoded(key(last)))\(others)"
    }

    func list<Item: Encodable>(_ page: Page<Item>, limit: Int, key: (Item) -> String) -> HTTPResponse {
        list(page, limit: limit, showing: page.items, key: key)
    }
}

private struct PageBody<Item: Encodable>: Encodable {
    let items: [Item]
    let next: String?
}

extension HTTPResponse {
    init(_ status: HTTPResponseStatus, _ headers: HTTPHeaders = [:], json value: some Encodable) {
        self.init(status, headers, text: JSON.text(value), type: "application/json")
    }
}
