package import OCI

/// Why something is alive, or since when it is not. Times are milliseconds since 1970.
package struct Explanation: Hashable, Sendable, Encodable {
    /// By the clock of the database, as all times.
    package let askedAt: Int64
    /// Manifests of this digest, one for each repository that has it.
    package var manifests: [LiveManifest] = []
    package var hasMoreManifests = false
    /// The blob of this digest, if there is one.
    package var blob: LiveBlob?
    /// What is kept of deleted manifests and tags of this digest, and the deleted repositories that have it.
    package var deleted: [Deletion] = []
    package var hasMoreDeleted = false
    /// Objects with the bytes of this digest that wait to be deleted: when that is due.
    package var trash: [Int64] = []

    package var isEmpty: Bool { manifests.isEmpty && blob == nil && deleted.isEmpty && trash.isEmpty }

    init(askedAt: Int64) { self.askedAt = askedAt }

    /// The manifest of one repository. Encoded as one object.
    package struct LiveManifest: Hashable, Sendable, Encodable {
        package let repository: String
        package let manifest: Manifest

        private enum CodingKeys: CodingKey { case repository }

        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(repository, forKey: .repository)
            try manifest.encode(to: encoder)
        }
    }

    /// A manifest and what keeps it, followed upwards to the tags.
    package struct Manifest: Hashable, Sendable {
        package let digest: String
        /// It stays until then although nothing keeps it: promised to clients.
        package let keepUntil: Int64
        package let tags: [String]
        package let holds: [String]
        /// Indexes of the repository that list it. Below the manifest that was asked about, what a tag names is not followed.
        package internal(set) var indexes: [Manifest] = []
        /// A list, since a manifest cannot contain one.
        private var subjects: [Manifest] = []
        /// More keeps it than is listed.
        package internal(set) var hasMore: Bool
        /// What becomes of it, if nothing keeps it.
        package internal(set) var untagged: Untagged?
        /// When it goes, if all that keeps it goes by itself.
        package internal(set) var end: End?

        /// The manifest that it is about, if the repository has it.
        package internal(set) var subject: Manifest? {
            get { subjects.first }
            set { subjects = newValue.map { [$0] } ?? [] }
        }

        init(digest: Digest, keepUntil: Int64, tags: [String] = [], holds: [String] = [], hasMore: Bool) {
            self.digest = "\(digest)"
            (self.keepUntil, self.tags, self.holds, self.hasMore) = (keepUntil, tags, holds, hasMore)
        }

        /// Nil if it stays, as far as is known.
        var removedAt: Int64? { untagged?.removedAt ?? end?.removedAt }
    }

    package struct Untagged: Hashable, Sendable, Encodable {
        package let since: Int64
        /// The rule that lets it go. Nil if none does: it stays until somebody deletes it.
        package let rule: String?
        /// From when on a collector removes it, if nothing changes but the time. Nil if no rule lets it go.
        package let removedAt: Int64?
        /// When the bytes of what only it lists are gone then, at the latest.
        package let bytesUntil: Int64?
    }

    package struct End: Hashable, Sendable, Encodable {
        /// From when on a collector removes it, if nothing changes but the time.
        package let removedAt: Int64
        /// When the bytes of what only it lists are gone then, at the latest.
        package let bytesUntil: Int64
    }

    package struct LiveBlob: Hashable, Sendable, Encodable {
        /// Bytes.
        package let size: Int64
        package let links: [Link]
        /// The repositories that hold it may be more than those listed.
        package let hasMoreLinks: Bool
        /// When its bytes are gone at the latest, if nothing changes but the time. Nil if a manifest lists it, or if only one
        /// repository was asked about.
        package var bytesUntil: Int64?
    }

    package struct Link: Hashable, Sendable, Encodable {
        package let repository: String
        /// It stays until then although no manifest lists it: promised to clients.
        package let leaseUntil: Int64
        /// Manifests of the repository that list it, those that are named first.
        package let manifests: [Manifest]
        package let hasMoreManifests: Bool
        /// If none lists it: those of the last deleted ones that did, the last first.
        package let deletedManifests: [DeletedManifest]
    }

    package struct DeletedManifest: Hashable, Sendable, Encodable {
        package let digest: String
        package let deletedAt: Int64
        package let restorableUntil: Int64
        /// Who or which rule.
        package let reason: String
    }

    package struct Deletion: Hashable, Sendable, Encodable {
        package let repository: String
        /// Nil for a manifest.
        package let tag: String?
        package let deletedAt: Int64
        package let restorableUntil: Int64
        /// Who or which rule.
        package let reason: String
    }
}

extension Explanation.Manifest: Encodable {
    private enum CodingKeys: CodingKey {
        case digest, keepUntil, tags, holds, indexes, subject, hasMore, untagged, end
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(digest, forKey: .digest)
        try container.encode(keepUntil, forKey: .keepUntil)
        try container.encode(tags, forKey: .tags)
        try container.encode(holds, forKey: .holds)
        try container.encode(indexes, forKey: .indexes)
        try container.encodeIfPresent(subject, forKey: .subject)
        try container.encode(hasMore, forKey: .hasMore)
        try container.encodeIfPresent(untagged, forKey: .untagged)
        try container.encodeIfPresent(end, forKey: .end)
    }
}

extension RegistryError {
    /// What ``Explanation/isEmpty`` means.
    package static func nothingStored(of digest: Digest) -> RegistryError {
        RegistryError(
            .notFound,
            "Nothing of \(digest) is stored, and nothing is kept of it.",
            detail: ["digest": "\(digest)"]
        )
    }
}
