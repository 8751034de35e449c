package import OCI
import SQLStore

// What is in a repository, in lists by key, for those who look after it. Times are milliseconds since 1970.

package struct RepositoryEntry: Hashable, Sendable, Encodable {
    package let name: String
    /// When something was first pushed to it.
    package let createdAt: Int64
}

package struct TagEntry: Hashable, Sendable, Encodable {
    package let name: String
    package let digest: String
    package let mediaType: String
    /// When it was last pushed or put back.
    package let pushedAt: Int64
    /// When its name was last asked for, or its manifest by the digest, as rules count it; nil if that never was.
    package let pulledAt: Int64?
    /// How often it was pulled by its name.
    package let pulls: Int64
    /// How often its manifest was pulled by the digest.
    package let pullsByDigest: Int64
    /// When a rule will delete it, if nothing changes; nil if that is not near.
    package let expiresAt: Int64?
}

package struct ManifestEntry: Hashable, Sendable, Encodable {
    package let digest: String
    package let mediaType: String
    package let artifactType: String?
    /// The manifest that it is about.
    package let subject: String?
    /// Bytes of the manifest itself.
    package let size: Int64
    package let pushedAt: Int64
    /// It stays until then although nothing names it: promised to clients.
    package let keepUntil: Int64
    package let isTagged: Bool
    /// Whether an index of the repository lists it.
    package let isListed: Bool
    /// Whether the repository has its subject.
    package let hasSubject: Bool
    /// When its digest was last asked for; nil if it never was.
    package let pulledAt: Int64?
    /// How often it was pulled by its digest.
    package let pulls: Int64

    /// Whether neither a tag nor an index names it and it is about nothing that there is.
    package var isUntagged: Bool { !isTagged && !isListed && !hasSubject }
}

extension MetadataStore {
    /// The repositories after `last`, at most `limit`.
    package func repositoryEntries(after last: String, limit: Int) async throws -> [RepositoryEntry] {
        try await database.read { db in
            try db.run(
                "SELECT name, created_at FROM repository WHERE name > \(last) ORDER BY name LIMIT \(Int64(limit))"
            ).map { RepositoryEntry(name: $0.text(0), createdAt: $0.int(1)) }
        }
    }

    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func repositoryEntry(_ name: RepositoryName) async throws -> RepositoryEntry {
        try await database.read { db in
            let rows = try db.run("SELECT created_at FROM repository WHERE name = \(name)")
            guard let row = rows.first else { throw RegistryError.nameUnknown(name) }
            return RepositoryEntry(name: name.text, createdAt: row.int(0))
        }
    }

    /// The tags after `last`, at most `limit`.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func tagEntries(in repository: RepositoryName, after last: String, limit: Int) async throws -> [TagEntry] {
        try await database.read { db in
            let repo = try db.existingRepositoryID(repository)
            let rows = try db.run(.tagEntries(in: repo, after: last, limit: limit))
            // Clients resolve a tag and pull what it names by its digest.
            let byDigest = try db.pulls(of: rows.map { $0.digest(1) }, in: repo)
            return rows.map { row in
                let own = byDigest["\(row.digest(1))"]
                return TagEntry(
                    name: row.text(0),
                    digest: "\(row.digest(1))",
                    mediaType: row.text(2),
                    pushedAt: row.int(3),
                    pulledAt: [row.optionalInt(4), own?.lastAt].compactMap(\.self).max(),
                    pulls: row.optionalInt(5) ?? 0,
                    pullsByDigest: own?.count ?? 0,
                    expiresAt: row.optionalInt(6)
                )
            }
        }
    }

    /// The manifests after `last` in the order of digests, at most `limit`.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func manifestEntries(
        in repository: RepositoryName,
        after last: Digest?,
        limit: Int
    ) async throws -> [ManifestEntry] {
        try await database.read { db in
            let repo = try db.existingRepositoryID(repository)
            let rows = try db.run(.manifestEntries(in: repo, after: last?.storageBytes ?? [], limit: limit))
            let pulls = try db.pulls(of: rows.map { $0.digest(0) }, in: repo)
            return rows.map { row in
                let own = pulls["\(row.digest(0))"]
                return ManifestEntry(
                    digest: "\(row.digest(0))",
                    mediaType: row.text(1),
                    artifactType: row.optionalText(2),
                    subject: row.isNull(3) ? nil : "\(row.digest(3))",
                    size: row.int(4),
                    pushedAt: row.int(5),
                    keepUntil: row.int(6),
                    isTagged: row.int(7) != 0,
                    isListed: row.int(8) != 0,
                    hasSubject: row.int(9) != 0,
                    pulledAt: own?.lastAt,
                    pulls: own?.count ?? 0
                )
            }
        }
    }
}

extension Query {
    static func tagEntries(in repo: Int64, after last: String, limit: Int) -> Query {
        """
        SELECT t.name, m.digest, y.name, t.updated_at, p.last_at, p.pulls, t.expires_at FROM tag t
        JOIN manifest m ON m.id = t.manifest_id JOIN media_type y ON y.id = m.media_type_id
        LEFT JOIN pull_stat p ON p.repo_id = t.repo_id AND p.reference = t.name
        WHERE t.repo_id = \(repo) AND t.name > \(last) ORDER BY t.name LIMIT \(Int64(limit))
        """
    }

    /// - Parameter last: the bytes of a digest; empty to begin.
    static func manifestEntries(in repo: Int64, after last: [UInt8], limit: Int) -> Query {
        """
        SELECT m.digest, y.name, a.name, m.subject, length(m.payload), m.created_at, m.keep_until,
            EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id),
            EXISTS (SELECT 1 FROM manifest_child c WHERE c.child_id = m.id),
            EXISTS (SELECT 1 FROM manifest s WHERE s.repo_id = m.repo_id AND s.digest = m.subject AND \(word: .isNotPartOfM))
        FROM manifest m JOIN media_type y ON y.id = m.media_type_id
        LEFT JOIN media_type a ON a.id = m.artifact_type_id
        WHERE m.repo_id = \(repo) AND m.digest > \(last) ORDER BY m.digest LIMIT \(Int64(limit))
        """
    }
}

extension SQLTransaction {
    /// How often and when manifests were pulled by their digests, of those that ever were.
    fileprivate func pulls(of digests: [Digest], in repo: Int64) throws -> [String: (count: Int64, lastAt: Int64)] {
        let rows = try inBatches(Set(digests).sorted().map { "\($0)" }) {
            "SELECT reference, pulls, last_at FROM pull_stat WHERE repo_id = \(repo) AND reference IN \(list: $0)"
        }
        return Dictionary(rows.map { ($0.text(0), ($0.int(1), $0.int(2))) }, uniquingKeysWith: { $1 })
    }

    /// - Throws: ``RegistryError`` `.nameUnknown`.
    func existingRepositoryID(_ name: RepositoryName) throws -> Int64 {
        guard let id = try repositoryID(name) else { throw RegistryError.nameUnknown(name) }
        return id
    }
}
