import SQLStore

// Objects that the store refuses to delete go behind all others each time; and what was deleted with a manifest is found
// however much else was deleted in its repository.
extension Migrations {
    static let refusals = Migration(
        version: 7,
        name: "refused deletions",
        changes: { d in
            [
                // When an object was due at first, once it was tried in vain.
                .column("due_since", of: "object_trash", type: d.integer),
                .index("object_trash_refused", of: "object_trash", columns: "(due_since) WHERE due_since IS NOT NULL"),
                .index("deleted_tag_digest", of: "deleted_tag", columns: "(repo_id, digest)"),
            ]
        }
    )
}
