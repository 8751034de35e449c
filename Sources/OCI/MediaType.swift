import HTTPSyntax

/// The media types that a registry acts on. Any other is stored and served as it came.
/// Source: [image-spec, media types](https://github.com/opencontainers/image-spec/blob/main/media-types.md),
/// [Docker image manifest v2 schema 2](https://distribution.github.io/distribution/spec/manifest-v2-2/).
package enum MediaType {
    package static let imageManifest = "application/vnd.oci.image.manifest.v1+json"
    package static let imageIndex = "application/vnd.oci.image.index.v1+json"
    package static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    package static let dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"

    /// The media type of a `Content-Type` value: lower-cased, without its parameters. Nil if it is not `type/subtype`.
    package static func parse(_ headerValue: some StringProtocol) -> String? {
        let trimmed = headerValue.prefix { $0 != ";" }.trimmed.lowercased()
        let parts = trimmed.split(separator: "/", omittingEmptySubsequences: false)
        let isToken: (Substring) -> Bool = { part in
            !part.isEmpty && part.utf8.allSatisfy { $0.isLetterOrDigit || "!#$&^_.+-".utf8.contains($0) }
        }
        return parts.count == 2 && parts.allSatisfy(isToken) && trimmed.utf8.count <= maximumLength ? trimmed : nil
    }

    /// Most characters (RFC 6838, section 4.2: 127 for each part).
    package static let maximumLength = 255

    /// What an index lists as a blob: BuildKit wrote its caches so up to 0.20, layers and a config of its own side by side.
    /// Source: [BuildKit, registry cache](https://github.com/moby/buildkit#registry-push-image-and-cache-separately).
    package static func isOfBlobInIndex(_ mediaType: String) -> Bool {
        mediaType.hasPrefix("application/vnd.oci.image.layer.")
            || mediaType.hasPrefix("application/vnd.docker.image.rootfs.")
            || mediaType == "application/vnd.buildkit.cacheconfig.v0"
    }

    /// Layers that a registry need not hold: their content is fetched from elsewhere.
    package static func isNonDistributable(_ mediaType: String) -> Bool {
        mediaType.contains(".nondistributable.") || mediaType.hasPrefix("application/vnd.docker.image.rootfs.foreign.")
    }
}
