import NIOHTTP1

/// The paths of the management API, as its document writes them. `/-/` ends a repository's name, which has no such
/// component.
enum ManagementPath: String, CaseIterable, Sendable {
    case document = "/api/v1/openapi.json"
    case repositories = "/api/v1/repositories"
    case repository = "/api/v1/repositories/{name}"
    case restore = "/api/v1/repositories/{name}/-/restore"
    case tags = "/api/v1/repositories/{name}/-/tags"
    case tag = "/api/v1/repositories/{name}/-/tags/{tag}"
    case manifests = "/api/v1/repositories/{name}/-/manifests"
    case manifest = "/api/v1/repositories/{name}/-/manifests/{digest}"
    case deleted = "/api/v1/repositories/{name}/-/deleted"
    case explanation = "/api/v1/repositories/{name}/-/explain/{digest}"
    case holds = "/api/v1/repositories/{name}/-/holds"
    case hold = "/api/v1/repositories/{name}/-/holds/{id}"
    case deletedRepositories = "/api/v1/deleted-repositories"
    case explanationAnywhere = "/api/v1/explain/{digest}"
    case retentionPreview = "/api/v1/repositories/{name}/-/retention/preview"
    case retentionApplication = "/api/v1/repositories/{name}/-/retention/apply"
    case retentionHistory = "/api/v1/repositories/{name}/-/retention/history"
    case policies = "/api/v1/retention/policies"
    case policy = "/api/v1/retention/policies/{scope}"
    case policyVersions = "/api/v1/retention/policies/{scope}/-/versions"
    case collection = "/api/v1/gc"
}

/// What a path under `/api/v1` names.
struct ManagementRoute: Hashable, Sendable {
    let path: ManagementPath
    /// What stands in the place of each parameter, by its name.
    let values: [String: String]

    /// Nil if the path names nothing.
    init?(path text: String) {
        guard text.hasPrefix("/api/v1/") else { return nil }
        let parts = Self.components(text)
        for path in ManagementPath.allCases {
            if let values = Self.match(parts[...], Self.components(path.rawValue)[...]) {
                (self.path, self.values) = (path, values)
                return
            }
        }
        return nil
    }

    /// The parameters that may have several components: they end at `-`, or with the path.
    private static let longParameters: Set<String> = ["{name}", "{scope}"]

    private static func components(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { String(Substring($0)) }
    }

    private static func match(_ parts: ArraySlice<String>, _ template: ArraySlice<String>) -> [String: String]? {
        var (rest, values) = (parts, [String: String]())
        for component in template {
            guard component.hasPrefix("{") else {
                guard rest.popFirst() == component else { return nil }
                continue
            }
            let value = longParameters.contains(component) ? rest.prefix { $0 != "-" } : rest.prefix(1)
            rest = rest.dropFirst(value.count)
            guard !value.isEmpty, !value.contains("") else { return nil }
            values[String(component.dropFirst().dropLast())] = value.joined(separator: "/")
        }
        return rest.isEmpty ? values : nil
    }

    /// The route's name in metrics, which know no URLs.
    var label: String { "management \(path)" }

    /// The methods that it answers, for an `Allow` header.
    var methods: String {
        let documented = ManagementOperation.all.filter { $0.path == path }.map(\.method.rawValue)
        return documented.flatMap { $0 == "GET" ? ["GET", "HEAD"] : [$0] }.joined(separator: ", ")
    }
}
