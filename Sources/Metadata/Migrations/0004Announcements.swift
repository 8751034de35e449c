import SQLStore

// Of millions of tags, the few that pulls are warned of: what was said is taken back where no policy holds any more.
extension Migrations {
    static let announcements = Migration(
        version: 4,
        name: "announcements",
        changes: { _ in
            [.index("tag_announced", of: "tag", columns: "(repo_id, name) WHERE expires_at IS NOT NULL")]
        }
    )
}
