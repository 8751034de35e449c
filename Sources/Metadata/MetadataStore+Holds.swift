package import OCI
package import Retention
import SQLStore

/// A hold as it is kept.
package struct StoredHold: Hashable, Sendable {
    package let id: Int64
    package let hold: RetentionHold
    /// Milliseconds since 1970.
    package let createdAt: Int64
}

extension StoredHold: Encodable {
    private enum CodingKeys: CodingKey { case id, subject, kind, reason, createdAt }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode("\(hold.subject)", forKey: .subject)
        try container.encode(hold.kind.rawValue, forKey: .kind)
        try container.encode(hold.reason, forKey: .reason)
        try container.encode(createdAt, forKey: .createdAt)
    }
}

// A hold refuses whatever somebody asks to delete, and every rule; a legal one refuses that tags move. It is set under a lock
// of the repository's row that excludes those who do so, who ask for holds after they have locked that row: what was answered
// last holds for the other.
extension MetadataStore {
    /// The holds of a repository in the order in which they were set, after `last`, at most `limit`.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`.
    package func holds(in repository: RepositoryName, after last: Int64, limit: Int) async throws -> [StoredHold] {
        try await database.read { db in
            let repo = try db.existingRepositoryID(repository)
            return try db.run(
                """
                SELECT id, subject, kind, reason, created_at FROM retention_hold WHERE repo_id = \(repo) AND id > \(last)
                ORDER BY id LIMIT \(Int64(limit))
                """
            ).map { StoredHold(id: $0.int(0), hold: try RetentionHold($0, from: 1), createdAt: $0.int(4)) }
        }
    }

    /// Sets a hold. One of the same kind on the same subject gets the new reason.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`; `.manifestUnknown` if it is on a manifest that is not there;
    ///   `.denied` if the repository has too many.
    package func setHold(_ hold: RetentionHold, in repository: RepositoryName) async throws -> StoredHold {
        try await database.write { db in
            let repo = try db.existingRepositoryID(repository)
            // Manifests before the repository, as deletions lock them.
            if case .digest(let digest) = hold.subject {
                let rows = try db.run(
                    "SELECT id FROM manifest WHERE repo_id = \(repo) AND digest = \(digest) \(lock: .keyShare)"
                )
                if rows.isEmpty { throw RegistryError.manifestUnknown(.digest(digest), in: repository) }
            }
            guard try !db.run("SELECT id FROM repository WHERE id = \(repo) \(lock: .update)").isEmpty else {
                throw RegistryError.nameUnknown(repository)
            }
            let others = try db.run(
                """
                SELECT count(*) FROM retention_hold WHERE repo_id = \(repo)
                AND NOT (subject = \(hold.subject.description) AND kind = \(hold.kind.rawValue))
                """
            )
            let count = others.first?.int(0) ?? 0
            guard count < Self.maximumHolds else {
                throw RegistryError(
                    .denied,
                    "The repository \(repository) has \(count) holds, which is as many as it may have; release some."
                )
            }
            let rows = try db.run(
                """
                INSERT INTO retention_hold (repo_id, subject, kind, reason, created_at)
                VALUES (\(repo), \(hold.subject.description), \(hold.kind.rawValue), \(hold.reason), \(db.now))
                ON CONFLICT (repo_id, subject, kind) DO UPDATE SET reason = excluded.reason RETURNING id, created_at
                """
            )
            guard let row = rows.first else { throw SQLError.conflict }
            return StoredHold(id: row.int(0), hold: hold, createdAt: row.int(1))
        }
    }

    /// Releases a hold. A manifest that nothing else keeps stays for the promised window, then the rules decide.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`, `.notFound`.
    package func releaseHold(_ id: Int64, in repository: RepositoryName) async throws {
        let window = promises.window
        try await database.write { db in
            let repo = try db.existingRepositoryID(repository)
            let rows = try db.run("SELECT subject FROM retention_hold WHERE repo_id = \(repo) AND id = \(id)")
            guard let subject = rows.first?.text(0) else {
                throw RegistryError(.notFound, "The repository \(repository) has no hold \(id).")
            }
            if case .digest(let digest)? = try? RetentionHold.Subject(parsing: subject) {
                let manifests = try db.run("SELECT id FROM manifest WHERE repo_id = \(repo) AND digest = \(digest)")
                for manifest in manifests { try db.release(manifest: manifest.int(0), keepingFor: window) }
            }
            try db.run("DELETE FROM retention_hold WHERE id = \(id)")
        }
    }

    /// Most holds of a repository: each deletion in it looks at all of them.
    private static let maximumHolds: Int64 = 1000
}

extension RetentionHold {
    /// - Parameter column: where subject, kind and reason begin.
    init(_ row: SQLRow, from column: Int) throws {
        self.init(
            // A kind of a later version of this program holds, too.
            kind: Kind(rawValue: row.text(column + 1)) ?? .legal,
            subject: try Subject(parsing: row.text(column)),
            reason: row.text(column + 2)
        )
    }

    /// Whether it is on a manifest, or on one of the tags that name it.
    func isOn(_ digest: Digest, _ tags: [Tag]) -> Bool {
        switch subject {
        case .digest(let held): held == digest
        case .tags(let pattern): tags.contains { pattern.matches($0) }
        }
    }
}

extension RegistryError {
    static func held(_ what: String, by hold: RetentionHold) -> RegistryError {
        RegistryError(
            .denied,
            "There is \(hold.kind == .inUse ? "an" : "a") \(hold), so \(what); release the hold first.",
            detail: ["hold": "\(hold.kind.rawValue)", "subject": "\(hold.subject)"]
        )
    }
}

extension SQLTransaction {
    /// What must be kept in a repository whatever a policy says.
    func holds(in repo: Int64) throws -> [RetentionHold] {
        try run("SELECT subject, kind, reason FROM retention_hold WHERE repo_id = \(repo) ORDER BY id").map {
            try RetentionHold($0, from: 0)
        }
    }

    /// The holds of a repository, to which none is added until the transaction ends. Asked for by whoever deletes or
    /// moves a tag, after all other locks.
    func lockHolds(in repo: Int64) throws -> [RetentionHold] {
        try start("SELECT id FROM repository WHERE id = \(repo) \(lock: .keyShare)")
        return try holds(in: repo)
    }

    /// - Throws: ``RegistryError`` `.denied` if the tag, or the manifest that it names, is held.
    func checkHolds(on tag: Tag, of digest: Digest, in repo: Int64) throws {
        if let hold = try lockHolds(in: repo).first(where: { $0.isOn(digest, [tag]) }) {
            throw RegistryError.held("the tag \(tag) cannot be deleted", by: hold)
        }
    }

    /// - Throws: ``RegistryError`` `.denied` if a manifest, or an index that it is part of, is held or has an immutable tag.
    func checkDeletion(ofManifest id: Int64, in repo: Int64, named name: RepositoryName) throws {
        let (immutability, holds) = (try immutability(of: name), try lockHolds(in: repo))
        guard !holds.isEmpty || !immutability.isEmpty else { return }
        // An index that was pushed at the same moment as a manifest that it lists does not know its row.
        let rows = try run(
            """
            WITH RECURSIVE whole (id) AS (
                SELECT CAST(\(id) AS BIGINT) UNION
                SELECT c.parent_id FROM whole w JOIN manifest m ON m.id = w.id JOIN manifest_child c
                ON c.child_id = m.id OR (c.child_id IS NULL AND c.repo_id = m.repo_id AND c.child_digest = m.digest)
            )
            SELECT m.digest, t.name FROM whole w JOIN manifest m ON m.id = w.id LEFT JOIN tag t ON t.manifest_id = m.id
            ORDER BY m.digest, t.name
            """
        )
        for row in rows {
            let tag = try row.optionalText(1).map { try Tag(parsing: $0) }
            if let hold = holds.first(where: { $0.isOn(row.digest(0), [tag].compactMap(\.self)) }) {
                throw RegistryError.held("the manifest cannot be deleted", by: hold)
            }
            if let tag, let rule = immutability.rule(for: tag) {
                throw RegistryError.immutable(tag, by: rule, "deleted")
            }
        }
    }

    /// A push moves a tag: a legal hold is on what it names now.
    ///
    /// - Throws: ``RegistryError`` `.denied`.
    func checkHolds(onMoving tag: Tag, from manifest: Int64, in repo: Int64) throws {
        let holds = try lockHolds(in: repo).filter { $0.kind == .legal }
        guard !holds.isEmpty, let digest = try digest(ofManifest: manifest) else { return }
        if let hold = holds.first(where: { $0.isOn(digest, [tag]) }) {
            throw RegistryError.held("the tag \(tag) cannot be moved", by: hold)
        }
    }
}
