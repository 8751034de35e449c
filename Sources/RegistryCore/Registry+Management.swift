package import Access
package import Metadata
package import OCI
package import Retention

// What those who look after repositories see and do. Every operation takes the grant that it needs.

extension Registry {
    package func repositoryEntries(
        after last: String,
        limit: Int,
        with grant: CatalogGrant
    ) async throws -> Page<RepositoryEntry> {
        Page(try await metadata.repositoryEntries(after: last, limit: limit + 1), limit: limit)
    }

    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func repositoryEntry(with grant: Grant<Pull>) async throws -> RepositoryEntry {
        try await metadata.repositoryEntry(grant.repository)
    }

    /// - Returns: until when it can be put back. Milliseconds since 1970.
    /// - Throws: ``RegistryError`` `.nameUnknown`, `.denied`.
    package func deleteRepository(with grant: Grant<Administer>) async throws -> Int64 {
        try await metadata.deleteRepository(grant.repository)
    }

    package func deletedRepositories(
        after last: DeletedRepository.Key?,
        limit: Int,
        with grant: AdministrationGrant
    ) async throws -> Page<DeletedRepository> {
        Page(try await metadata.deletedRepositories(after: last, limit: limit + 1), limit: limit)
    }

    /// - Parameter time: when it was deleted, in milliseconds since 1970; nil for the last of its name that was.
    /// - Throws: ``RegistryError`` `.nameUnknown`, `.preconditionFailed`.
    package func restoreRepository(deletedAt time: Int64?, with grant: Grant<Administer>) async throws {
        try await metadata.restoreRepository(grant.repository, deletedAt: time)
    }

    package func tagEntries(after last: String, limit: Int, with grant: Grant<Pull>) async throws -> Page<TagEntry> {
        Page(try await metadata.tagEntries(in: grant.repository, after: last, limit: limit + 1), limit: limit)
    }

    package func manifestEntries(
        after last: Digest?,
        limit: Int,
        with grant: Grant<Pull>
    ) async throws -> Page<ManifestEntry> {
        Page(try await metadata.manifestEntries(in: grant.repository, after: last, limit: limit + 1), limit: limit)
    }

    package func deletedEntries(
        after last: DeletedEntry.Key?,
        limit: Int,
        with grant: Grant<Delete>
    ) async throws -> Page<DeletedEntry> {
        Page(try await metadata.deletedEntries(in: grant.repository, after: last, limit: limit + 1), limit: limit)
    }

    /// - Throws: ``RegistryError`` `.manifestUnknown`, `.manifestBlobUnknown`, `.preconditionFailed`.
    package func restore(_ reference: Reference, with grant: Grant<Delete>) async throws -> Restored {
        try await metadata.restore(reference, in: grant.repository)
    }

    package func holds(after last: Int64, limit: Int, with grant: Grant<Pull>) async throws -> Page<StoredHold> {
        Page(try await metadata.holds(in: grant.repository, after: last, limit: limit + 1), limit: limit)
    }

    /// - Throws: ``RegistryError`` `.nameUnknown`, `.manifestUnknown`, `.denied`.
    package func setHold(_ hold: RetentionHold, with grant: Grant<Administer>) async throws -> StoredHold {
        try await metadata.setHold(hold, in: grant.repository)
    }

    /// - Throws: ``RegistryError`` `.nameUnknown`, `.notFound`.
    package func releaseHold(_ id: Int64, with grant: Grant<Administer>) async throws {
        try await metadata.releaseHold(id, in: grant.repository)
    }

    package func explain(_ digest: Digest, with grant: Grant<Pull>) async throws -> Explanation {
        try await metadata.explain(digest, in: grant.repository)
    }

    package func explain(_ digest: Digest, with grant: AdministrationGrant) async throws -> Explanation {
        try await metadata.explain(digest)
    }

    package func collectionStatus(with grant: AdministrationGrant) async throws -> CollectionStatus {
        try await metadata.countedStatus()
    }
}
