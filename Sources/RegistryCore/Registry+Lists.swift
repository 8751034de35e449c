package import Access
import FoundationEssentials
package import Metadata
package import OCI

/// Part of a list, and whether more follows.
package struct Page<Item: Sendable>: Sendable {
    package let items: [Item]
    package let hasMore: Bool

    /// - Parameter found: one more than `limit`, if there are more.
    package init(_ found: [Item], limit: Int) {
        items = Array(found.prefix(limit))
        hasMore = found.count > limit
    }
}

/// A descriptor in a referrers list.
package struct ReferrerDescriptor: Hashable, Sendable, Encodable {
    package let mediaType: String
    package let digest: String
    /// Bytes.
    package let size: Int64
    package let artifactType: String?
    package let annotations: [String: String]?
}

extension Registry {
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func tags(after last: String, limit: Int, with grant: Grant<Pull>) async throws -> NamePage {
        try await metadata.tags(of: grant.repository, after: last, limit: limit)
    }

    package func repositories(after last: String, limit: Int, with grant: CatalogGrant) async throws -> NamePage {
        try await metadata.repositories(after: last, limit: limit)
    }

    /// The manifests about `subject`, in the order of their digests: those that name it, and those that a client listed
    /// under the fallback tag before its registry knew of referrers.
    package func referrers(
        to subject: Digest,
        artifactType: String?,
        after last: Digest?,
        limit: Int,
        with grant: Grant<Pull>
    ) async throws -> Page<ReferrerDescriptor> {
        let named = try await metadata.referrers(
            to: subject,
            in: grant.repository,
            artifactType: artifactType,
            after: last,
            limit: limit + 1
        )
        var found = named.map { referrer in
            (
                referrer.digest.storageBytes,
                ReferrerDescriptor(
                    mediaType: referrer.mediaType,
                    digest: "\(referrer.digest)",
                    size: Int64(referrer.bytes.count),
                    artifactType: referrer.artifactType,
                    annotations: Self.annotations(of: referrer)
                )
            )
        }
        let known = Set(found.map(\.1.digest))
        for item in try await fallbackReferrers(to: subject, with: grant) where !known.contains(item.digest) {
            let key = try Digest(parsing: item.digest).storageBytes
            let isWanted = artifactType == nil || item.artifactType == artifactType
            if isWanted, last.map({ $0.storageBytes.lexicographicallyPrecedes(key) }) ?? true {
                found.append((key, item))
            }
        }
        found.sort { $0.0.lexicographicallyPrecedes($1.0) }
        return Page(found.map(\.1), limit: limit)
    }

    private static func annotations(of referrer: Referrer) -> [String: String]? {
        struct Annotated: Decodable { var annotations: [String: String]? }
        // Decoded without error when it was pushed.
        return (try? JSONDecoder().decode(Annotated.self, from: Data(referrer.bytes)))?.annotations
    }

    /// What the index under the tag `sha256-<hash>` lists, as far as the repository holds it.
    /// Source: [distribution-spec, Referrers tag schema](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema).
    private func fallbackReferrers(to subject: Digest, with grant: Grant<Pull>) async throws -> [ReferrerDescriptor] {
        struct Index: Decodable {
            struct Item: Decodable {
                var mediaType: String
                var digest: String
                var size: Int64
                var artifactType: String?
                var annotations: [String: String]?
            }
            var manifests: [Item]?
        }
        let hash = Hexadecimal.encode(subject.hash).prefix(64)
        let tag = try Tag(parsing: "\(subject.algorithm.rawValue)-\(hash)")
        let stored: StoredManifest
        do {
            stored = try await metadata.manifest(.tag(tag), in: grant.repository, promising: false)
        } catch let error as RegistryError where error.code == .manifestUnknown {
            return []
        }
        guard [MediaType.imageIndex, MediaType.dockerManifestList].contains(stored.mediaType) else { return [] }
        let index = try JSONDecoder().decode(Index.self, from: Data(stored.bytes))
        return (index.manifests ?? []).compactMap { item in
            guard let digest = try? Digest(parsing: item.digest) else { return nil }
            return ReferrerDescriptor(
                mediaType: item.mediaType,
                digest: "\(digest)",
                size: item.size,
                artifactType: item.artifactType,
                annotations: item.annotations
            )
        }
    }
}
