package import OCI
import SQLStore

/// What was put back.
package struct Restored: Hashable, Sendable {
    package var tags: [Tag] = []
    package var manifests: [Digest] = []
    /// Those of the tags that a rule had deleted, and may again.
    package var tagsOfRules: [Tag] = []
}

extension MetadataStore {
    /// Puts a deleted tag or manifest back, with the manifests that it lists or that are about it, as they were. A tag
    /// counts as pushed now.
    ///
    /// It is a push of what was kept, with a push's locks: blobs that still exist are linked again, and if one is gone
    /// nothing changes.
    ///
    /// - Throws: ``RegistryError`` `.manifestUnknown` if nothing is kept of it; `.manifestBlobUnknown` if its bytes are
    ///   gone; `.preconditionFailed` if the tag names something by now.
    package func restore(_ reference: Reference, in repository: RepositoryName) async throws -> Restored {
        let promises = promises
        return try await database.write { db in
            let repo = try db.existingRepositoryID(repository)
            var restored = Restored()
            switch reference {
            case .tag(let tag):
                if try db.lockTag(tag, in: repo) != nil { throw RegistryError.tagIsTaken(tag) }
                guard let digest = try db.lastDigest(ofDeleted: tag, in: repo) else {
                    throw RegistryError.nothingKept(reference, in: repository)
                }
                guard let id = try db.restore(digest, in: repo, promises, &restored) else {
                    throw RegistryError.nothingKept(.digest(digest), in: repository)
                }
                guard try db.restore(tag, to: id, in: repo, &restored) else { throw SQLError.conflict }
            case .digest(let digest):
                let tags = try db.tags(deletedWith: digest, in: repo)
                guard let id = try db.restore(digest, in: repo, promises, &restored), !restored.manifests.isEmpty else {
                    throw RegistryError.nothingKept(reference, in: repository)
                }
                for tag in tags { _ = try db.restore(tag, to: id, in: repo, &restored) }
            }
            return restored
        }
    }
}

extension RegistryError {
    fileprivate static func tagIsTaken(_ tag: Tag) -> RegistryError {
        RegistryError(.preconditionFailed, "The tag \(tag) exists; delete it before the old one is put back.")
    }

    fileprivate static func nothingKept(_ reference: Reference, in repository: RepositoryName) -> RegistryError {
        RegistryError(
            .manifestUnknown,
            "Nothing is kept of a deleted \(reference) in the repository \(repository).",
            detail: ["reference": "\(reference)"]
        )
    }
}

extension Query {
    static func tags(of digest: Digest, deletedAt times: [Int64], in repo: Int64) -> Query {
        """
        SELECT name FROM deleted_tag WHERE repo_id = \(repo) AND digest = \(digest) AND deleted_at IN \(list: times)
        """
    }
}

extension SQLTransaction {
    fileprivate func lastDigest(ofDeleted tag: Tag, in repo: Int64) throws -> Digest? {
        try run(
            "SELECT digest FROM deleted_tag WHERE repo_id = \(repo) AND name = \(tag) ORDER BY id DESC LIMIT 1"
        ).first?.digest(0)
    }

    /// The tags that were deleted together with a manifest.
    fileprivate func tags(deletedWith digest: Digest, in repo: Int64) throws -> [Tag] {
        let times = try run("SELECT deleted_at FROM deleted_manifest WHERE repo_id = \(repo) AND digest = \(digest)")
        let names = try inBatches(times.map { $0.int(0) }) { .tags(of: digest, deletedAt: $0, in: repo) }
        return try Set(names.map { $0.text(0) }).sorted().map { try Tag(parsing: $0) }
    }

    /// False, and nothing changes, if the tag exists.
    fileprivate func restore(_ tag: Tag, to manifest: Int64, in repo: Int64, _ restored: inout Restored) throws -> Bool
    {
        try run(
            """
            INSERT INTO tag (repo_id, name, manifest_id, updated_at) VALUES (\(repo), \(tag), \(manifest), \(now))
            ON CONFLICT (repo_id, name) DO NOTHING
            """
        )
        guard changes == 1 else { return false }
        let forgotten = try run(
            "DELETE FROM deleted_tag WHERE repo_id = \(repo) AND name = \(tag) RETURNING id, reason"
        )
        restored.tags.append(tag)
        let last = forgotten.max { $0.int(0) < $1.int(0) }
        if let last, last.text(1) != MetadataStore.requested { restored.tagsOfRules.append(tag) }
        return true
    }

    /// Most manifests, each of which lists the next one or is its subject, that come back with one. Deeper ones come back if they
    /// are asked for themselves.
    private static var mostLevels: Int { 32 }

    /// - Parameters:
    ///   - before: what was deleted before this row was written is not put back.
    ///   - level: how far this one is from the one that was asked for.
    /// - Returns: the manifest's row, locked, be it that it was there; nil if nothing is kept of it.
    fileprivate func restore(
        _ digest: Digest,
        after before: Int64 = 0,
        level: Int = 0,
        in repo: Int64,
        _ promises: Promises,
        _ restored: inout Restored
    ) throws -> Int64? {
        let existing = try run(
            "SELECT id FROM manifest WHERE repo_id = \(repo) AND digest = \(digest) \(lock: .keyShare)"
        )
        if let id = existing.first?.int(0) {
            try revive([id])
            return id
        }
        let kept = try run(
            """
            SELECT y.name, d.payload, d.id FROM deleted_manifest d JOIN media_type y ON y.id = d.media_type_id
            WHERE d.repo_id = \(repo) AND d.digest = \(digest) AND d.id > \(before) ORDER BY d.id DESC LIMIT 1
            """
        )
        guard let row = kept.first else { return nil }
        let manifest = try Manifest(decoding: row.bytes(1), declaredType: row.text(0), algorithm: digest.algorithm)
        // What went with it comes with it; not what somebody had deleted before, whose bytes may be gone. By rows, since the
        // clocks of two nodes' transactions may differ.
        let own = row.int(2)
        for child in manifest.children where level < Self.mostLevels {
            _ = try restore(child.digest, after: own, level: level + 1, in: repo, promises, &restored)
        }
        try relink(manifest, in: repo, promises)
        let push = ManifestPush(manifest: manifest, tags: [], condition: .none, allowsSparseIndex: true)
        let links = try lockBlobs(of: manifest, in: repo)
        let children = try lockChildren(of: push, in: repo)
        let (id, isNew) = try insert(manifest, in: repo, as: startMediaTypes(of: manifest), promises)
        if isNew {
            try insertEdges(from: id, of: manifest, in: repo, links: links, children: children)
            // Whatever it is that is going to name it: if nothing does, a collector has to look.
            try hint(.manifest, [id], dueIn: promises.window)
        }
        try revive(children.values.sorted())
        try run("DELETE FROM deleted_manifest WHERE repo_id = \(repo) AND digest = \(digest)")
        restored.manifests.append(digest)
        let referrers = try run(
            """
            SELECT DISTINCT digest FROM deleted_manifest
            WHERE repo_id = \(repo) AND subject = \(digest) AND id > \(own)
            """
        )
        for referrer in referrers where level < Self.mostLevels {
            do {
                _ = try restore(referrer.digest(0), after: own, level: level + 1, in: repo, promises, &restored)
            } catch let error as RegistryError where error.entries.allSatisfy({ $0.code == .manifestBlobUnknown }) {
                // Its bytes are gone; what it is about needs it not.
            }
        }
        return id
    }

    /// Links blobs again that the repository has let go of and that still exist.
    private func relink(_ manifest: Manifest, in repo: Int64, _ promises: Promises) throws {
        let digests = Set(manifest.blobs.filter { !$0.isExternal }.map(\.digest)).sorted()
        let blobs = try inBatches(digests) {
            "SELECT digest, size FROM blob WHERE digest IN \(list: $0) ORDER BY digest \(lock: .keyShare)"
        }
        try link(blobs.map { (repository: repo, digest: $0.digest(0), size: $0.int(1)) }, lease: promises.lease)
    }
}
