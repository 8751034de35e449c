import OCI

/// What a path under `/v2/` names.
/// Source: [distribution-spec, Endpoints](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints).
enum RegistryRoute: Hashable, Sendable {
    case base
    case catalog
    case extensions
    case manifest(repository: String, reference: String)
    case blob(repository: String, digest: String)
    case uploads(repository: String)
    case upload(repository: String, id: String)
    case tags(repository: String)
    case referrers(repository: String, digest: String)

    /// Parsed from the right: a repository name may itself hold `manifests` or `blobs` as a component.
    ///
    /// - Returns: nil if the path names nothing.
    init?(path: String) {
        guard path == "/v2" || path.hasPrefix("/v2/") else { return nil }
        let parts = path.utf8.dropFirst(4).split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            .map { Substring($0) }
        if parts.isEmpty || parts == [""] {
            self = .base
        } else if parts == ["_catalog"] {
            self = .catalog
        } else if parts.suffix(3) == ["_oci", "ext", "discover"] {
            self = .extensions
        } else {
            self.init(parts)
        }
    }

    private init?(_ parts: [Substring]) {
        func name(_ dropped: Int) -> String {
            let end = parts[parts.count - dropped - 1].endIndex
            return String(Substring(parts[0].base[parts[0].startIndex..<end]))
        }
        let last = String(parts[parts.count - 1])
        let before = parts.dropLast().last ?? ""
        let third = parts.dropLast(2).last ?? ""
        switch (third, before, last) {
        case ("blobs", "uploads", "") where parts.count > 3: self = .uploads(repository: name(3))
        case (_, "blobs", "uploads") where parts.count > 2: self = .uploads(repository: name(2))
        case ("blobs", "uploads", _) where parts.count > 3: self = .upload(repository: name(3), id: last)
        case (_, "blobs", _) where parts.count > 2: self = .blob(repository: name(2), digest: last)
        case (_, "manifests", _) where parts.count > 2: self = .manifest(repository: name(2), reference: last)
        case (_, "referrers", _) where parts.count > 2: self = .referrers(repository: name(2), digest: last)
        case (_, "tags", "list") where parts.count > 2: self = .tags(repository: name(2))
        default: return nil
        }
    }

    /// The route's name in metrics, which know no URLs.
    var label: String {
        switch self {
        case .base: "base"
        case .catalog: "catalog"
        case .extensions: "extensions"
        case .manifest: "manifest"
        case .blob: "blob"
        case .uploads: "uploads"
        case .upload: "upload"
        case .tags: "tags"
        case .referrers: "referrers"
        }
    }

    var methods: String {
        switch self {
        case .base, .catalog, .extensions, .tags, .referrers: "GET, HEAD"
        case .manifest: "GET, HEAD, PUT, DELETE"
        case .blob: "GET, HEAD, DELETE"
        case .uploads: "POST"
        case .upload: "GET, HEAD, PATCH, PUT, DELETE"
        }
    }
}
