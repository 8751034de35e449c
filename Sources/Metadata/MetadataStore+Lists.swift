package import OCI
import SQLStore

/// A manifest that has a subject, as a referrers list shows it.
package struct Referrer: Hashable, Sendable {
    package let digest: Digest
    package let mediaType: String
    package let artifactType: String?
    /// The manifest itself, whose annotations the list repeats.
    package let bytes: [UInt8]
}

/// Part of a list of names in byte order.
package struct NamePage: Hashable, Sendable {
    /// What stands between the brackets of a JSON array: names hold nothing that JSON escapes.
    package let json: String
    /// The last name of the page if more follow, else nil.
    package let lastBeforeMore: String?
}

extension MetadataStore {
    /// The tags after `last`, at most `limit`.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown` if nothing was ever pushed to the repository.
    package func tags(of repository: RepositoryName, after last: String, limit: Int) async throws -> NamePage {
        try await database.read { db in
            try db.page(.tags(of: db.existingRepositoryID(repository), after: last, limit: limit + 1), limit: limit)
        }
    }

    /// The repositories after `last`, at most `limit`.
    package func repositories(after last: String, limit: Int) async throws -> NamePage {
        try await database.read { db in
            try db.page(.repositories(after: last, limit: limit + 1), limit: limit)
        }
    }

    /// The same as names, for a walk through all of them.
    package func repositoryNames(after last: String, limit: Int) async throws -> [RepositoryName] {
        try await database.read { db in
            try db.run(.repositories(after: last, limit: limit)).map { try RepositoryName(parsing: $0.text(0)) }
        }
    }

    /// The manifests whose subject is `digest`, after `last` in the order of digests, at most `limit`.
    package func referrers(
        to digest: Digest,
        in repository: RepositoryName,
        artifactType: String?,
        after last: Digest?,
        limit: Int
    ) async throws -> [Referrer] {
        try await database.read { db in
            guard let repo = try db.repositoryID(repository) else { return [] }
            let after = last?.storageBytes ?? []
            return try db.run(
                .referrers(to: digest, in: repo, artifactType: artifactType, after: after, limit: limit)
            ).map {
                Referrer(
                    digest: $0.digest(0),
                    mediaType: $0.text(1),
                    artifactType: $0.optionalText(2),
                    bytes: $0.bytes(3)
                )
            }
        }
    }
}

extension Query {
    static func tags(of repo: Int64, after last: String, limit: Int) -> Query {
        "SELECT name FROM tag WHERE repo_id = \(repo) AND name > \(last) ORDER BY name LIMIT \(Int64(limit))"
    }

    static func repositories(after last: String, limit: Int) -> Query {
        "SELECT name FROM repository WHERE name > \(last) ORDER BY name LIMIT \(Int64(limit))"
    }

    /// - Parameter last: the bytes of a digest; empty to begin.
    static func referrers(
        to digest: Digest,
        in repo: Int64,
        artifactType: String?,
        after last: [UInt8],
        limit: Int
    ) -> Query {
        """
        SELECT m.digest, y.name, a.name, m.payload FROM manifest m
        JOIN media_type y ON y.id = m.media_type_id LEFT JOIN media_type a ON a.id = m.artifact_type_id
        WHERE m.repo_id = \(repo) AND m.subject = \(digest) AND m.digest > \(last)
        AND (\(optional: artifactType) IS NULL OR a.name = \(optional: artifactType))
        ORDER BY m.digest LIMIT \(Int64(limit))
        """
    }
}

extension SQLTransaction {
    /// - Parameter query: finds names, one more than `limit` if more follow.
    fileprivate func page(_ query: Query, limit: Int) throws -> NamePage {
        let (count, joined) = try texts(query, joinedBy: "\",\"")
        guard count > 0, limit > 0 else { return NamePage(json: "", lastBeforeMore: nil) }
        guard count > limit, let end = joined.utf8.lastIndex(of: UInt8(ascii: ",")) else {
            return NamePage(json: "\"\(joined)\"", lastBeforeMore: nil)
        }
        let names = joined[..<end]  // up to and with the quotation mark that closes the page's last name
        let last = names.utf8.dropLast().lastIndex(of: UInt8(ascii: "\"")).map { names.utf8.index(after: $0) }
        return NamePage(
            json: "\"\(names)",
            lastBeforeMore: String(names[(last ?? names.startIndex)...].dropLast())
        )
    }
}
