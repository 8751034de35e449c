import HTTPSyntax
import Access
import FoundationEssentials
import Metadata
import NIOHTTP1
import OCI
import RegistryCore

extension RegistryResponder {
    /// Most items of a page, and of one whose size the client leaves to us. A larger `n` gets a page and a `Link`.
    private static let maximumPage = 10_000

    func tags(_ request: HTTPRequest, _ name: String) async throws -> HTTPResponse {
        let grant = try await grant(Pull.self, on: name)
        let limit = try pageSize(request)
        let last = request.query["last"] ?? ""
        let page = try await registry.tags(after: last, limit: limit, with: grant)
        return list(
            #"{"name":"\#(grant.repository)","tags":"#,
            page,
            limit,
            "/v2/\(grant.repository)/tags/list"
        )
    }

    func catalog(_ request: HTTPRequest) async throws -> HTTPResponse {
        let grant = try await authorizer.grantCatalog(to: .anonymous)
        let limit = try pageSize(request)
        let page = try await registry.repositories(after: request.query["last"] ?? "", limit: limit, with: grant)
        return list(#"{"repositories":"#, page, limit, "/v2/_catalog")
    }

    private func list(_ start: String, _ page: NamePage, _ limit: Int, _ path: String) -> HTTPResponse {
        var headers: HTTPHeaders = [:]
        if let last = page.lastBeforeMore {
            headers.add(name: "Link", value: "<\(path)?n=\(limit)&last=\(last)>; rel=\"next\"")
        }
        return HTTPResponse(.ok, headers, text: "\(start)[\(page.json)]}", type: "application/json")
    }

    func referrers(_ request: HTTPRequest, _ name: String, _ text: String) async throws -> HTTPResponse {
        struct Index: Encodable {
            let schemaVersion = 2
            let mediaType = MediaType.imageIndex
            let manifests: [ReferrerDescriptor]
        }
        let grant = try await grant(Pull.self, on: name)
        let subject = try parseDigest(text)
        let type = request.query["artifactType"]
        let limit = min(try pageSize(request), Self.maximumReferrers)
        let last = try request.query["last"].map { try parseDigest($0) }
        let page = try await registry.referrers(to: subject, artifactType: type, after: last, limit: limit, with: grant)
        var headers: HTTPHeaders = [:]
        if type != nil { headers.add(name: "OCI-Filters-Applied", value: "artifactType") }
        if page.hasMore, let last = page.items.last {
            let filter = type.map { "&artifactType=\(percentEncoded($0))" } ?? ""
            let link = "/v2/\(grant.repository)/referrers/\(subject)?n=\(limit)&last=\(last.digest)\(filter)"
            headers.add(name: "Link", value: "<\(link)>; rel=\"next\"")
        }
        return HTTPResponse(.ok, headers, text: JSON.text(Index(manifests: page.items)), type: MediaType.imageIndex)
    }

    /// Most referrers of a page: clients accept manifests of 4 MiB, and annotations make descriptors long.
    private static let maximumReferrers = 1000

    private func pageSize(_ request: HTTPRequest) throws -> Int {
        guard let text = request.query["n"] else { return Self.maximumPage }
        guard let number = ByteRange.number(text) else {
            throw RegistryError(.paginationNumberInvalid, "n must be a whole number, 0 or more.")
        }
        return Int(min(number, Int64(Self.maximumPage)))
    }
}
