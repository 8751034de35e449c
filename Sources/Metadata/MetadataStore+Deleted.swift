package import OCI
import SQLStore

/// A deleted tag or manifest that can be put back. Times are milliseconds since 1970.
package struct DeletedEntry: Hashable, Sendable, Encodable {
    /// Nil for a manifest.
    package let tag: String?
    /// The manifest, or what the tag named.
    package let digest: String
    package let deletedAt: Int64
    /// It can be put back until then for certain: a tag while its own window lasts, and while its manifest is there or can be
    /// put back itself, unless there is a later tag of its name.
    package let restorableUntil: Int64
    /// Who or which rule.
    package let reason: String
    package let key: Key

    /// Where it stands in the list: tags by name and then age, then manifests by age.
    package enum Key: Hashable, Sendable, CustomStringConvertible {
        case tag(name: String, id: Int64)
        case manifest(id: Int64)

        package var description: String {
            switch self {
            case .tag(let name, let id): "\(id):\(name)"
            case .manifest(let id): "\(id)"
            }
        }

        /// Nil if the text was not made by ``description``.
        package init?(_ text: String) {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let id = parts.first.flatMap({ Int64($0) }) else { return nil }
            self = parts.count == 2 ? .tag(name: String(parts[1]), id: id) : .manifest(id: id)
        }
    }

    private enum CodingKeys: String, CodingKey { case tag, digest, deletedAt, restorableUntil, reason }
}

/// A deleted repository that can be put back. Times are milliseconds since 1970.
package struct DeletedRepository: Hashable, Sendable, Encodable {
    package let name: String
    package let createdAt: Int64
    package let deletedAt: Int64
    /// It can be put back until then, unless there is a new one of its name.
    package let restorableUntil: Int64
    package let key: Key

    /// Where it stands in the list: by name, then in the order in which they were made.
    package struct Key: Hashable, Sendable, CustomStringConvertible {
        let name: String
        let id: Int64

        static let first = Key(name: "", id: 0)

        package var description: String { "\(id):\(name)" }

        private init(name: String, id: Int64) { (self.name, self.id) = (name, id) }

        /// Nil if the text was not made by ``description``.
        package init?(_ text: String) {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let id = Int64(parts[0]) else { return nil }
            self.init(name: String(parts[1]), id: id)
        }

        fileprivate init(_ row: SQLRow) { self.init(name: row.text(0), id: row.int(4)) }
    }

    private enum CodingKeys: String, CodingKey { case name, createdAt, deletedAt, restorableUntil }
}

extension MetadataStore {
    /// What can be put back in a repository, after `last`, at most `limit`.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func deletedEntries(
        in repository: RepositoryName,
        after last: DeletedEntry.Key?,
        limit: Int
    ) async throws -> [DeletedEntry] {
        let promises = promises
        return try await database.read { db in
            let repo = try db.existingRepositoryID(repository)
            switch last {
            case .manifest(let id): return try db.deletedManifests(in: repo, after: id, limit: limit)
            case .tag(let name, let id):
                let tags = try db.deletedTags(in: repo, after: (name, id), limit: limit, promises)
                return tags + (try db.deletedManifests(in: repo, after: 0, limit: limit - tags.count))
            case nil:
                let tags = try db.deletedTags(in: repo, after: ("", 0), limit: limit, promises)
                return tags + (try db.deletedManifests(in: repo, after: 0, limit: limit - tags.count))
            }
        }
    }

    /// Deleted repositories that can be put back, after `last`, at most `limit`. Several may have had one name.
    package func deletedRepositories(after last: DeletedRepository.Key?, limit: Int) async throws -> [DeletedRepository]
    {
        let last = last ?? .first
        return try await database.read { db in
            try db.run(
                """
                SELECT name, created_at, deleted_at, restorable_until, id FROM deleted_repository
                WHERE (name, id) > (\(last.name), \(last.id)) AND restorable_until > \(db.now)
                ORDER BY name, id LIMIT \(Int64(limit))
                """
            ).map {
                DeletedRepository(
                    name: $0.text(0),
                    createdAt: $0.int(1),
                    deletedAt: $0.int(2),
                    restorableUntil: $0.int(3),
                    key: .init($0)
                )
            }
        }
    }
}

extension SQLTransaction {
    fileprivate func deletedTags(
        in repo: Int64,
        after last: (name: String, id: Int64),
        limit: Int,
        _ promises: Promises
    ) throws -> [DeletedEntry] {
        try run(.deletedTags(in: repo, after: last, limit: limit, promises, now: now)).map { row in
            let own = row.int(4)
            // Should the manifest go, it can be put back for a window.
            let manifest = [row.optionalInt(6).map { _ in now + promises.window }, row.optionalInt(7)]
            let later = row.int(8) == 0 ? manifest.compactMap(\.self).max() : nil
            return DeletedEntry(
                tag: row.text(0),
                digest: "\(row.digest(2))",
                deletedAt: row.int(3),
                restorableUntil: max(own, min(later ?? own, own + promises.memoryOfTags)),
                reason: row.text(5),
                key: .tag(name: row.text(0), id: row.int(1))
            )
        }
    }

    fileprivate func deletedManifests(in repo: Int64, after last: Int64, limit: Int) throws -> [DeletedEntry] {
        try run(
            """
            SELECT id, digest, deleted_at, restorable_until, reason FROM deleted_manifest
            WHERE repo_id = \(repo) AND id > \(last) AND restorable_until > \(now) ORDER BY id LIMIT \(Int64(limit))
            """
        ).map { row in
            DeletedEntry(
                tag: nil,
                digest: "\(row.digest(1))",
                deletedAt: row.int(2),
                restorableUntil: row.int(3),
                reason: row.text(4),
                key: .manifest(id: row.int(0))
            )
        }
    }
}

extension Query {
    fileprivate static func deletedTags(
        in repo: Int64,
        after last: (name: String, id: Int64),
        limit: Int,
        _ promises: Promises,
        now: Int64
    ) -> Query {
        """
        SELECT t.name, t.id, t.digest, t.deleted_at, t.restorable_until, t.reason,
            (SELECT 1 FROM manifest m WHERE m.repo_id = t.repo_id AND m.digest = t.digest),
            (SELECT max(d.restorable_until) FROM deleted_manifest d WHERE d.digest = t.digest AND d.repo_id = t.repo_id),
            CASE WHEN \(word: .hasSuccessor) THEN 1 ELSE 0 END
        FROM deleted_tag t
        WHERE t.repo_id = \(repo) AND (t.name, t.id) > (\(last.name), \(last.id))
            AND t.restorable_until > \(now - promises.memoryOfTags)
            AND (t.restorable_until > \(now) OR (
                (EXISTS (SELECT 1 FROM manifest m WHERE m.repo_id = t.repo_id AND m.digest = t.digest)
                OR EXISTS (SELECT 1 FROM deleted_manifest d WHERE d.digest = t.digest AND d.repo_id = t.repo_id
                    AND d.restorable_until > \(now)))
                AND NOT \(word: .hasSuccessor)))
        ORDER BY t.name, t.id LIMIT \(Int64(limit))
        """
    }
}

extension StaticString {
    /// Whether a deleted tag `t` is not the last one of its name: that is the one that is put back.
    fileprivate static let hasSuccessor: StaticString = """
        (EXISTS (SELECT 1 FROM tag l WHERE l.repo_id = t.repo_id AND l.name = t.name)
            OR EXISTS (SELECT 1 FROM deleted_tag n WHERE n.repo_id = t.repo_id AND n.name = t.name AND n.id > t.id))
        """
}
