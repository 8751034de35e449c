import SQLStore

// What an image runs on stands in its configuration, and a large one is an object. It is read once, when a rule asks first;
// empty if it says nothing of it.
extension Migrations {
    static let platforms = Migration(
        version: 5,
        name: "platforms",
        changes: { d in [.column("platform", of: "blob", type: d.text)] }
    )
}
