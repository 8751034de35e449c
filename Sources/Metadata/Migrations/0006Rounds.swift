import SQLStore

// A round through all repositories goes on where it was stopped; and who asks why something is alive does so without knowing
// the repository.
extension Migrations {
    static let rounds = Migration(
        version: 6,
        name: "rounds that go on",
        changes: { d in
            [
                .column("progress", of: "job", type: d.text),
                .index("manifest_digest", of: "manifest", columns: "(digest)"),
            ]
        }
    )
}
