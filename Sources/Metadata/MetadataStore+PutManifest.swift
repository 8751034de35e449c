package import OCI
import Retention
import SQLStore

/// What a tag must be for a push to move it, so that two pipelines cannot overwrite each other unseen.
/// Source: [RFC 9110, 13.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1).
package enum TagCondition: Hashable, Sendable {
    case none
    /// `If-None-Match: *`: it does not exist.
    case isAbsent
    /// `If-Match: "<digest>"`: it names one of these; empty for `*`, any.
    case names([Digest])
}

/// A manifest to be stored and what shall name it.
package struct ManifestPush: Sendable {
    package let manifest: Manifest
    /// Distinct. All are moved or none is.
    package let tags: [Tag]
    /// Holds for every tag, or for the manifest itself where there is none.
    package let condition: TagCondition
    /// Whether an index may list manifests that the repository does not hold.
    package let allowsSparseIndex: Bool

    package init(manifest: Manifest, tags: [Tag], condition: TagCondition, allowsSparseIndex: Bool) {
        (self.manifest, self.tags, self.condition, self.allowsSparseIndex) = (
            manifest, tags, condition, allowsSparseIndex
        )
    }
}

extension MetadataStore {
    /// Stores a manifest, its edges and its tags in one transaction. The same bytes again change nothing but the tags.
    ///
    /// - Throws: ``RegistryError`` `.manifestBlobUnknown` with one entry for each missing blob or child,
    ///   `.sizeInvalid` where a descriptor's size is not the blob's, `.preconditionFailed`; `.denied` if a legal hold is on a
    ///   tag that would move.
    package func put(_ push: ManifestPush, in repository: RepositoryName) async throws {
        let promises = promises
        try await database.write { db in
            let types = try db.startMediaTypes(of: push.manifest)
            let repo = try db.makeRepository(repository)
            // Tags before manifests, as whoever else locks both; and in the order of names, so that two pushes of the same
            // tags cannot wait for each other.
            let locks = try push.tags.sorted { $0.text < $1.text }.map { tag in
                (tag: tag, found: try db.start(.lockedTag(tag, in: repo)))
            }
            let links = try db.lockBlobs(of: push.manifest, in: repo)
            let children = try db.lockChildren(of: push, in: repo)
            let tags = try locks.map { (tag: $0.tag, old: try db.rows(of: $0.found).first?.int(0)) }
            if push.tags.isEmpty { try db.check(push, in: repo) }
            let (id, isNew) = try db.insert(push.manifest, in: repo, as: types, promises)
            if isNew {
                try db.insertEdges(from: id, of: push.manifest, in: repo, links: links, children: children)
            } else if push.manifest.blobs.contains(where: \.isExternal) {
                // They may have come after the manifest was pushed first.
                try db.insertEdges(from: id, toBlobs: links)
            }
            try db.revive((isNew ? [] : [id]) + children.values.sorted())
            for (tag, old) in tags {
                try db.checkMove(of: tag, from: old, to: id, in: repository)
                try db.point(tag, from: old, to: id, in: repo, if: push.condition, promises)
            }
            // What a tag names is promised by that: it stays for the window once it loses the tag.
            if push.tags.isEmpty { try db.release(manifest: id, keepingFor: promises.window) }
        }
    }
}

extension Query {
    fileprivate static func mediaTypeID(_ name: String) -> Query { "SELECT id FROM media_type WHERE name = \(name)" }

    /// The links of blobs, locked against collection.
    static func links(to digests: [Digest], in repo: Int64) -> Query {
        """
        SELECT id, digest, size FROM repo_blob WHERE repo_id = \(repo) AND digest IN \(list: digests)
        ORDER BY digest \(lock: .keyShare)
        """
    }
}

/// The ids of a manifest's media types, as far as those are known, asked for together with what comes next.
struct StartedMediaTypes {
    fileprivate let own: StartedQuery
    fileprivate let artifact: StartedQuery?
}

extension SQLTransaction {
    /// The links of the blobs that a manifest lists, locked against collection.
    func lockBlobs(of manifest: Manifest, in repo: Int64) throws -> [Int64] {
        let digests = Array(Set(manifest.blobs.map(\.digest)))
        guard !digests.isEmpty else { return [] }
        var held: [Digest: (link: Int64, size: Int64)] = [:]
        for some in digests.chunked(by: maximumListLength) {
            for row in try run(.links(to: some, in: repo)) { held[row.digest(1)] = (row.int(0), row.int(2)) }
        }
        var wrong: [Digest: RegistryError.Entry] = [:]
        for blob in manifest.blobs {
            if let known = held[blob.digest] {
                guard known.size != blob.size else { continue }
                wrong[blob.digest] = RegistryError.Entry(
                    .sizeInvalid,
                    "The manifest says that \(blob.digest) has \(blob.size) bytes, but it has \(known.size).",
                    detail: ["digest": "\(blob.digest)"]
                )
            } else if !blob.isExternal {
                wrong[blob.digest] = .missing(blob.digest, "blob")
            }
        }
        try throwIfAny(wrong, in: manifest.blobs)
        return held.values.map(\.link)
    }

    func lockChildren(of push: ManifestPush, in repo: Int64) throws -> [Digest: Int64] {
        var held: [Digest: Int64] = [:]
        // With the index itself, if it is there: two manifests are locked in the order of their digests, as rules do it.
        let digests =
            push.manifest.children.isEmpty ? [] : push.manifest.children.map(\.digest) + [push.manifest.digest]
        for some in Set(digests).sorted().chunked(by: maximumListLength) {
            let rows = try run(
                """
                SELECT id, digest FROM manifest WHERE repo_id = \(repo) AND digest IN \(list: some)
                ORDER BY digest \(lock: .keyShare)
                """
            )
            for row in rows { held[row.digest(1)] = row.int(0) }
        }
        held[push.manifest.digest] = nil
        guard !push.allowsSparseIndex else { return held }
        var wrong: [Digest: RegistryError.Entry] = [:]
        for child in push.manifest.children where held[child.digest] == nil && !child.isExternal {
            wrong[child.digest] = .missing(child.digest, "manifest")
        }
        try throwIfAny(wrong, in: push.manifest.children)
        return held
    }

    /// One entry for each digest, in the order of the manifest.
    private func throwIfAny(_ wrong: [Digest: RegistryError.Entry], in order: [Descriptor]) throws {
        var left = wrong
        let entries = order.compactMap { left.removeValue(forKey: $0.digest) }
        if !entries.isEmpty { throw RegistryError(entries) }
    }

    /// The condition of a push without tags holds for the manifest itself.
    fileprivate func check(_ push: ManifestPush, in repo: Int64) throws {
        guard push.condition != .none else { return }
        let rows = try run("SELECT digest FROM manifest WHERE repo_id = \(repo) AND digest = \(push.manifest.digest)")
        try push.condition.check(rows.first?.digest(0), "\(push.manifest.digest)")
    }

    /// - Returns: the row's id and whether it is new. An old row keeps its bytes and its media type: they are what its
    ///   digest was first pushed as.
    func insert(
        _ manifest: Manifest,
        in repo: Int64,
        as types: StartedMediaTypes,
        _ promises: Promises
    ) throws -> (Int64, isNew: Bool) {
        let type = try mediaTypeID(manifest.mediaType, types.own)
        let artifactType = try manifest.artifactType.map { try mediaTypeID($0, types.artifact) }
        let inserted = try run(
            """
            INSERT INTO manifest (repo_id, digest, media_type_id, artifact_type_id, subject, created_at, keep_until, payload)
            VALUES (\(repo), \(manifest.digest), \(type), \(optional: artifactType), \(optional: manifest.subject), \(now),
                \(now + promises.window), \(manifest.bytes))
            ON CONFLICT (repo_id, digest) DO NOTHING RETURNING id
            """
        )
        if let id = inserted.first?.int(0) { return (id, true) }
        let rows = try run(
            """
            SELECT id, media_type_id FROM manifest
            WHERE repo_id = \(repo) AND digest = \(manifest.digest) \(lock: .keyShare)
            """
        )
        guard let row = rows.first else { throw SQLError.conflict }
        if row.int(1) != type {
            throw RegistryError(
                .manifestInvalid,
                "These bytes are stored with another media type than \(manifest.mediaType); a manifest is never converted."
            )
        }
        return (row.int(0), false)
    }

    func startMediaTypes(of manifest: Manifest) throws -> StartedMediaTypes {
        StartedMediaTypes(
            own: try start(.mediaTypeID(manifest.mediaType)),
            artifact: try manifest.artifactType.map { try start(.mediaTypeID($0)) }
        )
    }

    private func mediaTypeID(_ name: String, _ started: StartedQuery?) throws -> Int64 {
        if let id = try started.flatMap({ try rows(of: $0).first?.int(0) }) { return id }
        try start("INSERT INTO media_type (name) VALUES (\(name)) ON CONFLICT (name) DO NOTHING")
        guard let id = try run(.mediaTypeID(name)).first?.int(0) else { throw SQLError.conflict }
        return id
    }

    /// - Parameter links: of the blobs that it lists, locked.
    fileprivate func insertEdges(from id: Int64, toBlobs links: [Int64]) throws {
        try startInBatches(links.sorted()) { some in
            """
            INSERT INTO manifest_blob (manifest_id, link_id) VALUES \(rows: some.map { [id.sqlValue, $0.sqlValue] })
            ON CONFLICT DO NOTHING
            """
        }
    }

    func insertEdges(
        from id: Int64,
        of manifest: Manifest,
        in repo: Int64,
        links: [Int64],
        children: [Digest: Int64]
    ) throws {
        try insertEdges(from: id, toBlobs: links)
        try startInBatches(Array(manifest.children.enumerated())) { some in
            """
            INSERT INTO manifest_child (parent_id, position, repo_id, child_id, child_digest)
            VALUES \(rows: some.map { position, child in
                [id.sqlValue, Int64(position).sqlValue, repo.sqlValue,
                children[child.digest]?.sqlValue ?? .null(.integer), child.digest.sqlValue]
            })
            """
        }
        try adopt(manifest: id, manifest.digest, in: repo)
    }

    /// Lets indexes that listed a manifest before it was here know its row.
    func adopt(manifest id: Int64, _ digest: Digest, in repo: Int64) throws {
        try start(
            """
            UPDATE manifest_child SET child_id = \(id)
            WHERE repo_id = \(repo) AND child_digest = \(digest) AND child_id IS NULL
            """
        )
    }

    /// A policy may say that a tag stays on what it was first pushed to.
    ///
    /// - Throws: ``RegistryError`` `.denied`.
    fileprivate func checkMove(of tag: Tag, from old: Int64?, to id: Int64, in repository: RepositoryName) throws {
        guard let old, old != id, let rule = try immutability(of: repository).rule(for: tag) else { return }
        throw RegistryError.immutable(tag, by: rule, "moved")
    }

    /// - Parameter old: what the tag names, locked; nil if it did not exist.
    fileprivate func point(
        _ tag: Tag,
        from old: Int64?,
        to id: Int64,
        in repo: Int64,
        if condition: TagCondition,
        _ promises: Promises
    ) throws {
        // Checked on the locked row, or on the absence that the insertion below insists on.
        if condition != .none { try condition.check(try old.flatMap { try digest(ofManifest: $0) }, tag.text) }
        if let old {
            if old != id { try checkHolds(onMoving: tag, from: old, in: repo) }
            try start(
                """
                UPDATE tag SET manifest_id = \(id), updated_at = \(now), expires_at = NULL
                WHERE repo_id = \(repo) AND name = \(tag)
                """
            )
            if old != id { try release(manifest: old, keepingFor: promises.window) }
            return
        }
        try run(
            """
            INSERT INTO tag (repo_id, name, manifest_id, updated_at) VALUES (\(repo), \(tag), \(id), \(now))
            ON CONFLICT (repo_id, name) DO NOTHING
            """
        )
        // Made by another push since it was looked for: what it names must be released, and conditions hold for it.
        guard changes == 1 else { throw SQLError.conflict }
    }
}

/// Most values in one `IN` list; SQLite binds 32,766 parameters, PostgreSQL 65,535.
private let maximumListLength = 4096

extension TagCondition {
    /// - Throws: ``RegistryError`` `.preconditionFailed`.
    package func check(_ current: Digest?, _ subject: String) throws {
        let found = current.map { "names \($0)" } ?? "does not exist"
        let holds =
            switch self {
            case .none: true
            case .isAbsent: current == nil
            case .names(let digests): current.map { digests.isEmpty || digests.contains($0) } ?? false
            }
        guard holds else {
            throw RegistryError(
                .preconditionFailed,
                "\(subject) \(found), so the condition of the request does not hold; nothing was changed.",
                detail: current.map { ["digest": "\($0)"] } ?? [:]
            )
        }
    }
}

extension RegistryError.Entry {
    fileprivate static func missing(_ digest: Digest, _ what: String) -> Self {
        Self(
            .manifestBlobUnknown,
            "The manifest lists the \(what) \(digest), which the repository does not hold; push it first.",
            detail: ["digest": "\(digest)"]
        )
    }
}

extension Array {
    func chunked(by size: Int) -> [[Element]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
    }
}
