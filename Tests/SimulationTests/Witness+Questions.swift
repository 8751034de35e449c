import OCI
import SQLStore

extension Witness {
    /// The witness's own tables.
    static let schema = """
        CREATE TABLE IF NOT EXISTS witness.object (skey BLOB PRIMARY KEY, size INTEGER, is_late INTEGER);
        CREATE TABLE IF NOT EXISTS witness.possible (repository TEXT, tag TEXT, digest BLOB);
        CREATE TABLE IF NOT EXISTS witness.promise (kind INTEGER, repository TEXT, digest BLOB, until INTEGER,
            PRIMARY KEY (kind, repository, digest));
        CREATE TABLE IF NOT EXISTS witness.image_blob (manifest BLOB, blob BLOB, PRIMARY KEY (manifest, blob));
        CREATE TABLE IF NOT EXISTS witness.released (kind INTEGER, repository TEXT, digest BLOB,
            PRIMARY KEY (kind, repository, digest));
        CREATE TABLE IF NOT EXISTS witness.kept (repository TEXT, digest BLOB, until INTEGER);
        """
}

extension Query {
    /// Whether a manifest `m` is about one that is there. An index that lists its subject is not kept by it.
    static let isKeptBySubject: StaticString = """
        EXISTS (SELECT 1 FROM manifest s WHERE s.repo_id = m.repo_id AND s.digest = m.subject
            AND NOT EXISTS (SELECT 1 FROM manifest_child p WHERE p.parent_id = m.id AND p.child_digest = s.digest))
        """

    /// One row for each thing that must never be.
    static func violations(at now: Int64) -> Query {
        """
        SELECT 'an edge leads to no link of its repository: ' || e.manifest_id FROM manifest_blob e
        LEFT JOIN repo_blob l ON l.id = e.link_id LEFT JOIN manifest m ON m.id = e.manifest_id
        WHERE l.id IS NULL OR m.id IS NULL OR l.repo_id <> m.repo_id
        UNION ALL
        SELECT 'a link leads to no blob: ' || l.id FROM repo_blob l LEFT JOIN blob b ON b.digest = l.digest
        WHERE b.digest IS NULL OR b.size <> l.size
        UNION ALL
        SELECT 'a blob has not exactly one location: ' || hex(b.digest) FROM blob b
        WHERE (SELECT count(*) FROM blob_copy c WHERE c.digest = b.digest)
            + (SELECT count(*) FROM blob_inline i WHERE i.digest = b.digest) <> 1
        UNION ALL
        SELECT 'a location belongs to no blob: ' || hex(c.skey) FROM blob_copy c
        LEFT JOIN blob b ON b.digest = c.digest WHERE b.digest IS NULL
        UNION ALL
        SELECT 'a published object is missing: ' || hex(c.skey) FROM blob_copy c JOIN blob b ON b.digest = c.digest
        LEFT JOIN witness.object o ON o.skey = c.skey WHERE o.skey IS NULL OR o.size <> b.size
        UNION ALL
        SELECT 'a key is published and in the trash: ' || hex(c.skey) FROM blob_copy c
        JOIN object_trash t ON t.skey = c.skey
        UNION ALL
        SELECT 'no row knows an object: ' || hex(o.skey) FROM witness.object o WHERE o.is_late = 0
        AND NOT EXISTS (SELECT 1 FROM blob_copy c WHERE c.skey = o.skey)
        AND NOT EXISTS (SELECT 1 FROM object_trash t WHERE t.skey = o.skey)
        UNION ALL
        SELECT 'a session names a key that is not in the trash: ' || hex(s.skey) FROM upload_session s
        LEFT JOIN object_trash t ON t.skey = s.skey WHERE s.skey IS NOT NULL AND t.skey IS NULL
        UNION ALL
        SELECT 'a manifest lacks edges: ' || m.id FROM manifest m
        WHERE (SELECT count(*) FROM witness.image_blob w WHERE w.manifest = m.digest)
            <> (SELECT count(*) FROM manifest_blob e WHERE e.manifest_id = m.id)
        UNION ALL
        SELECT 'an index names no or another manifest: ' || e.parent_id FROM manifest_child e
        LEFT JOIN manifest c ON c.id = e.child_id LEFT JOIN manifest p ON p.id = e.parent_id
        WHERE p.id IS NULL OR (e.child_id IS NOT NULL AND (c.id IS NULL OR c.digest <> e.child_digest))
        UNION ALL
        SELECT 'an index has lost a manifest that nobody deleted: ' || e.parent_id FROM manifest_child e
        JOIN repository r ON r.id = e.repo_id WHERE e.child_id IS NULL
        AND (EXISTS (SELECT 1 FROM manifest m WHERE m.repo_id = e.repo_id AND m.digest = e.child_digest)
            OR NOT EXISTS (SELECT 1 FROM witness.released x
                WHERE x.kind = 1 AND x.repository = r.name AND x.digest = e.child_digest))
        UNION ALL
        SELECT 'a tag names no manifest: ' || t.name FROM tag t LEFT JOIN manifest m ON m.id = t.manifest_id
        WHERE m.id IS NULL OR m.repo_id <> t.repo_id
        UNION ALL
        SELECT 'a tag names what nobody made it name: ' || t.name FROM tag t
        JOIN repository r ON r.id = t.repo_id JOIN manifest m ON m.id = t.manifest_id
        WHERE NOT EXISTS (SELECT 1 FROM witness.possible w
            WHERE w.repository = r.name AND w.tag = t.name AND w.digest = m.digest)
        UNION ALL
        SELECT 'an acknowledged tag is gone: ' || w.tag FROM witness.possible w
        WHERE NOT EXISTS (SELECT 1 FROM witness.possible n
            WHERE n.repository = w.repository AND n.tag = w.tag AND n.digest IS NULL)
        AND NOT EXISTS (SELECT 1 FROM tag t JOIN repository r ON r.id = t.repo_id
            WHERE r.name = w.repository AND t.name = w.tag)
        UNION ALL
        SELECT 'a blob is gone that was promised: ' || hex(p.digest) FROM witness.promise p
        WHERE p.kind = 0 AND p.until > \(now) AND NOT EXISTS (SELECT 1 FROM repository r
            JOIN repo_blob l ON l.repo_id = r.id WHERE r.name = p.repository AND l.digest = p.digest)
        UNION ALL
        SELECT 'a manifest is gone that was promised: ' || hex(p.digest) FROM witness.promise p
        WHERE p.kind = 1 AND p.until > \(now) AND NOT EXISTS (SELECT 1 FROM repository r
            JOIN manifest m ON m.repo_id = r.id WHERE r.name = p.repository AND m.digest = p.digest)
        UNION ALL
        SELECT 'nothing is kept of a deleted manifest: ' || hex(k.digest) FROM witness.kept k WHERE k.until > \(now)
        AND NOT EXISTS (SELECT 1 FROM repository r JOIN manifest m ON m.repo_id = r.id
            WHERE r.name = k.repository AND m.digest = k.digest)
        AND NOT EXISTS (SELECT 1 FROM repository r JOIN deleted_manifest d ON d.repo_id = r.id
            WHERE r.name = k.repository AND d.digest = k.digest)
        UNION ALL
        SELECT 'a deleted manifest cannot be put back, a blob is gone: ' || hex(w.blob) FROM deleted_manifest d
        JOIN repository r ON r.id = d.repo_id JOIN witness.image_blob w ON w.manifest = d.digest
        LEFT JOIN blob b ON b.digest = w.blob
        WHERE d.restorable_until > \(now) AND b.digest IS NULL
        AND NOT EXISTS (SELECT 1 FROM witness.released x WHERE x.kind = 0 AND x.digest = w.blob)
        UNION ALL
        SELECT 'no collector will look at a link that nothing needs: ' || l.id FROM repo_blob l
        WHERE NOT EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = l.id)
        AND NOT EXISTS (SELECT 1 FROM gc_hint h WHERE h.kind = 2 AND h.ref = l.id)
        UNION ALL
        SELECT 'no collector will look at a blob that nothing needs: ' || hex(b.digest) FROM blob b
        WHERE NOT EXISTS (SELECT 1 FROM repo_blob l WHERE l.digest = b.digest)
        AND NOT EXISTS (SELECT 1 FROM gc_hint h WHERE h.kind = 3 AND h.digest = b.digest)
        LIMIT 1
        """
    }

    /// One row for each thing that is left although nothing needs it.
    static func leftovers(untaggedIn repositories: [RepositoryName], late: Bool) -> Query {
        let ignoresLate: Int64 = late ? 1 : 0
        return """
            SELECT 'a link is left' FROM repo_blob l
            WHERE NOT EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = l.id)
            UNION ALL
            SELECT 'a blob is left' FROM blob b
            WHERE NOT EXISTS (SELECT 1 FROM repo_blob l WHERE l.digest = b.digest)
            UNION ALL SELECT 'an upload session is left' FROM upload_session
            UNION ALL SELECT 'a key is left in the trash' FROM object_trash
            UNION ALL SELECT 'a hint is left' FROM gc_hint
            UNION ALL SELECT 'a deleted repository is left' FROM deleted_repository
            UNION ALL SELECT 'a deleted manifest is still kept' FROM deleted_manifest
            UNION ALL SELECT 'a deleted tag is still kept' FROM deleted_tag
            UNION ALL
            SELECT 'an object is left' FROM witness.object o
            WHERE NOT EXISTS (SELECT 1 FROM blob_copy c WHERE c.skey = o.skey) AND (o.is_late = 0 OR \(ignoresLate) = 0)
            UNION ALL
            SELECT 'a manifest is left that nothing names' FROM manifest m JOIN repository r ON r.id = m.repo_id
            WHERE r.name IN \(list: repositories)
            AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id)
            AND NOT EXISTS (SELECT 1 FROM manifest_child e WHERE e.child_id = m.id)
            AND NOT \(word: isKeptBySubject)
            LIMIT 1
            """
    }
}
