package import Access
package import Metadata
package import OCI

/// A manifest as a request brings it.
package struct ManifestUpload: Sendable {
    package let bytes: [UInt8]
    /// The request's `Content-Type`; nil if it has none.
    package let mediaType: String?
    package let reference: Reference
    /// Tags of a push by digest.
    package let tags: [Tag]
    package let condition: TagCondition

    package init(bytes: [UInt8], mediaType: String?, reference: Reference, tags: [Tag], condition: TagCondition) {
        (self.bytes, self.mediaType, self.reference) = (bytes, mediaType, reference)
        (self.tags, self.condition) = (tags, condition)
    }
}

extension Registry {
    /// - Parameter promising: whether the answer tells a client that it need not push; if not, it counts as a pull. A tag is in use
    ///   either way: nodes that have its manifest ask for no more.
    /// - Throws: ``RegistryError`` `.manifestUnknown`.
    package func manifest(
        _ reference: Reference,
        promising: Bool,
        with grant: Grant<Pull>
    ) async throws -> StoredManifest {
        let manifest = try await metadata.manifest(reference, in: grant.repository, promising: promising)
        pulls.count(PulledReference(reference, in: grant.repository), asPulls: promising ? 0 : 1)
        return manifest
    }

    /// Stores a manifest and moves its tags. Pushing the same bytes again changes nothing but the tags.
    ///
    /// - Throws: ``RegistryError`` `.manifestInvalid`, `.digestInvalid`, `.manifestBlobUnknown`, `.preconditionFailed`.
    package func putManifest(_ upload: ManifestUpload, with grant: Grant<Push>) async throws -> Manifest {
        var tags = upload.tags
        var algorithm = DigestAlgorithm.sha256
        switch upload.reference {
        case .tag(let tag): tags.insert(tag, at: 0)
        case .digest(let digest): algorithm = digest.algorithm
        }
        let manifest: Manifest
        do {
            manifest = try Manifest(
                decoding: upload.bytes,
                declaredType: upload.mediaType,
                algorithm: algorithm,
                maximumReferences: policy.maximumReferences
            )
        } catch {
            throw RegistryError(.manifestInvalid, "\(error)")
        }
        if case .digest(let expected) = upload.reference, expected != manifest.digest {
            throw RegistryError(
                .digestInvalid,
                "The manifest's digest is \(manifest.digest), not \(expected).",
                detail: ["expected": "\(expected)", "actual": "\(manifest.digest)"]
            )
        }
        var seen: Set<Tag> = []
        let push = ManifestPush(
            manifest: manifest,
            tags: tags.filter { seen.insert($0).inserted },
            condition: upload.condition,
            allowsSparseIndex: policy.allowsSparseIndex
        )
        try await metadata.put(push, in: grant.repository)
        return manifest
    }

    /// A tag is only removed; a manifest goes with all its tags.
    ///
    /// - Returns: until when it can be put back for certain. Milliseconds since 1970.
    /// - Throws: ``RegistryError`` `.manifestUnknown`, `.preconditionFailed`.
    @discardableResult
    package func deleteManifest(
        _ reference: Reference,
        condition: TagCondition,
        with grant: Grant<Delete>
    ) async throws -> Int64 {
        switch reference {
        case .tag(let tag): try await metadata.deleteTag(tag, in: grant.repository, condition: condition)
        case .digest(let digest): try await metadata.deleteManifest(digest, in: grant.repository, condition: condition)
        }
    }
}
