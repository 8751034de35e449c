package import OCI
import Retention
import SQLStore

/// A manifest as it is served.
package struct StoredManifest: Hashable, Sendable {
    package let digest: Digest
    package let mediaType: String
    /// Exactly as pushed.
    package let bytes: [UInt8]
    /// When a rule will delete the tag that it was asked for by, if nothing changes; nil if that is not near.
    /// Milliseconds since 1970.
    package let expiresAt: Int64?

    init(digest: Digest, mediaType: String, bytes: [UInt8], expiresAt: Int64? = nil) {
        (self.digest, self.mediaType, self.bytes, self.expiresAt) = (digest, mediaType, bytes, expiresAt)
    }
}

extension MetadataStore {
    /// - Parameter promising: whether the answer tells a client that it need not push. The manifest then stays for the
    ///   promised window.
    /// - Throws: ``RegistryError`` `.manifestUnknown`.
    package func manifest(
        _ reference: Reference,
        in repository: RepositoryName,
        promising: Bool
    ) async throws -> StoredManifest {
        let found = try await database.read { db -> (manifest: StoredManifest, mustPromise: Int64?)? in
            guard let row = try db.findManifest(reference, in: repository) else { return nil }
            let digest = row.digest(1)
            // Gone between the two questions: so is the manifest.
            let found = try manifests.bytes(of: digest) { try db.payload(ofManifest: row.int(0)) }
            guard let bytes = found else { return nil }
            let expiresAt = if case .tag = reference { row.optionalInt(4) } else { nil as Int64? }
            let manifest = StoredManifest(
                digest: digest,
                mediaType: row.text(2),
                bytes: bytes,
                expiresAt: expiresAt
            )
            // What a tag names, or an index that has one, is kept for longer than the window after it is let go.
            guard promising, case .digest = reference, row.int(3) < db.now + promises.window,
                try !db.isTagged(manifest: row.int(0))
            else { return (manifest, nil) }
            return (manifest, row.int(0))
        }
        guard let found else { throw RegistryError.manifestUnknown(reference, in: repository) }
        if let id = found.mustPromise {
            // For longer than the window, so that what is asked for all the time is not written down each time.
            let lease = promises.lease
            try await database.write { db in
                try db.run("UPDATE manifest SET keep_until = \(db.now + lease) WHERE id = \(id)")
                guard db.changes == 1 else { throw RegistryError.manifestUnknown(reference, in: repository) }
                try db.hint(.manifest, [id], dueIn: lease)
            }
        }
        return found.manifest
    }

    /// Removes a tag; the manifest stays.
    ///
    /// - Returns: until when it can be put back for certain. Milliseconds since 1970.
    /// - Throws: ``RegistryError`` `.manifestUnknown`, `.preconditionFailed`; `.denied` while a hold is on it.
    @discardableResult
    package func deleteTag(
        _ tag: Tag,
        in repository: RepositoryName,
        condition: TagCondition = .none
    ) async throws -> Int64 {
        let window = promises.window
        return try await database.write { db in
            guard let repo = try db.repositoryID(repository), let manifest = try db.lockTag(tag, in: repo) else {
                throw RegistryError.manifestUnknown(.tag(tag), in: repository)
            }
            guard let digest = try db.digest(ofManifest: manifest) else { throw SQLError.conflict }
            try condition.check(digest, tag.text)
            if let rule = try db.immutability(of: repository).rule(for: tag) {
                throw RegistryError.immutable(tag, by: rule, "deleted")
            }
            try db.checkHolds(on: tag, of: digest, in: repo)
            let tags = try db.run(
                "DELETE FROM tag WHERE repo_id = \(repo) AND name = \(tag) RETURNING repo_id, name, updated_at"
            )
            try db.remember(tags, of: digest, keepingFor: window, reason: Self.requested)
            try db.release(manifest: manifest, keepingFor: window)
            return db.now + window
        }
    }

    /// Why something was deleted that a client asked to delete.
    static let requested = "deleted by request"

    /// Removes a manifest and the tags that name it. Indexes that list it stay, and list it as missing.
    ///
    /// - Returns: until when it can be put back for certain. Milliseconds since 1970.
    /// - Throws: ``RegistryError`` `.manifestUnknown`, `.preconditionFailed`; `.denied` while a hold is on it, on a tag that
    ///   names it, or on an index that it is part of, and if one of such tags is immutable.
    @discardableResult
    package func deleteManifest(
        _ digest: Digest,
        in repository: RepositoryName,
        condition: TagCondition = .none
    ) async throws -> Int64 {
        let window = promises.window
        return try await database.write { db in
            // Tags before the manifest, as pushes lock them.
            try db.run(
                """
                SELECT t.name FROM tag t JOIN manifest m ON m.id = t.manifest_id JOIN repository r ON r.id = m.repo_id
                WHERE r.name = \(repository) AND m.digest = \(digest) ORDER BY t.name \(lock: .update, of: "t")
                """
            )
            let rows = try db.run(
                """
                SELECT m.id, m.repo_id FROM manifest m JOIN repository r ON r.id = m.repo_id
                WHERE r.name = \(repository) AND m.digest = \(digest) \(lock: .update, of: "m")
                """
            )
            try condition.check(rows.isEmpty ? nil : digest, "\(digest)")
            guard let id = rows.first?.int(0) else {
                throw RegistryError.manifestUnknown(.digest(digest), in: repository)
            }
            // Later statements than the lock: tags that were made meanwhile go, or are held, too; so are indexes that did not
            // see it when they were pushed.
            try db.adopt(manifest: id, digest, in: rows[0].int(1))
            try db.checkDeletion(ofManifest: id, in: rows[0].int(1), named: repository)
            let tags = try db.run("DELETE FROM tag WHERE manifest_id = \(id) RETURNING repo_id, name, updated_at")
            try db.remember(tags, of: digest, keepingFor: window, reason: Self.requested)
            try db.run("UPDATE manifest_child SET child_id = NULL WHERE child_id = \(id)")
            try db.release(referrersOf: id, keepingFor: window)
            try db.forget(manifest: id, keepingFor: window, childrenFor: window, reason: Self.requested)
            // What was about it has lost its subject.
            let referrers = try db.run(
                """
                SELECT f.id FROM manifest f JOIN repository r ON r.id = f.repo_id
                WHERE r.name = \(repository) AND f.subject = \(digest)
                """
            )
            try db.hint(.manifest, referrers.map { $0.int(0) }, dueIn: window)
            return db.now + window
        }
    }
}

extension RegistryError {
    static func manifestUnknown(_ reference: Reference, in repository: RepositoryName) -> RegistryError {
        RegistryError(
            .manifestUnknown,
            "The repository \(repository) has no manifest \(reference).",
            detail: ["reference": "\(reference)"]
        )
    }
}

extension Query {
    static func manifest(_ digest: Digest, in repository: RepositoryName) -> Query {
        """
        SELECT m.id, m.digest, y.name, m.keep_until FROM repository r
        JOIN manifest m ON m.repo_id = r.id JOIN media_type y ON y.id = m.media_type_id
        WHERE r.name = \(repository) AND m.digest = \(digest)
        """
    }

    static func manifest(_ tag: Tag, in repository: RepositoryName) -> Query {
        """
        SELECT m.id, m.digest, y.name, m.keep_until, t.expires_at FROM repository r
        JOIN tag t ON t.repo_id = r.id JOIN manifest m ON m.id = t.manifest_id
        JOIN media_type y ON y.id = m.media_type_id
        WHERE r.name = \(repository) AND t.name = \(tag)
        """
    }
}

extension Query {
    static func name(ofManifest id: Int64) -> Query {
        "SELECT 1 FROM tag WHERE manifest_id = \(id) UNION ALL SELECT 1 FROM manifest_child WHERE child_id = \(id) LIMIT 1"
    }
}

extension SQLTransaction {
    /// id, digest, media type, keep_until; by tag also expires_at
    func findManifest(_ reference: Reference, in repository: RepositoryName) throws -> SQLRow? {
        switch reference {
        case .digest(let digest): try run(.manifest(digest, in: repository)).first
        case .tag(let tag): try run(.manifest(tag, in: repository)).first
        }
    }

    /// The row of the manifest that a tag names, which it names until the transaction ends; nil if there is no tag.
    ///
    /// Nothing is joined: a tag that moves while its lock is waited for would then seem to be gone.
    func lockTag(_ tag: Tag, in repo: Int64) throws -> Int64? { try run(.lockedTag(tag, in: repo)).first?.int(0) }

    func digest(ofManifest id: Int64) throws -> Digest? {
        try run("SELECT digest FROM manifest WHERE id = \(id)").first?.digest(0)
    }

    fileprivate func payload(ofManifest id: Int64) throws -> [UInt8]? {
        try run("SELECT payload FROM manifest WHERE id = \(id)").first?.bytes(0)
    }

    /// Whether a tag names a manifest, or an index that lists it.
    fileprivate func isTagged(manifest id: Int64) throws -> Bool {
        try !run(
            """
            SELECT 1 FROM tag WHERE manifest_id = \(id) UNION ALL
            SELECT 1 FROM manifest_child c JOIN tag t ON t.manifest_id = c.parent_id WHERE c.child_id = \(id) LIMIT 1
            """
        ).isEmpty
    }

    /// Whether a tag or an index names a manifest.
    func isNamed(manifest id: Int64) throws -> Bool {
        try !run(.name(ofManifest: id)).isEmpty
    }
}

extension Query {
    /// What ``SQLTransaction/lockTag(_:in:)`` asks.
    static func lockedTag(_ tag: Tag, in repo: Int64) -> Query {
        "SELECT manifest_id FROM tag WHERE repo_id = \(repo) AND name = \(tag) \(lock: .update)"
    }
}
