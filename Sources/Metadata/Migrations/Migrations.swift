import SQLStore

/// One numbered change to the schema. Processes of the previous release go on while it is made and after it, so it only adds:
/// tables, indexes, and columns that they need not know.
struct Migration: Sendable {
    let version: Int64
    let name: String
    /// What is done to tables that may be filled. Comes before ``creations``.
    let changes: @Sendable (SQLDialect) -> [TableChange]
    /// New tables, with their indexes.
    let creations: @Sendable (SQLDialect) -> [Query]

    init(
        version: Int64,
        name: String,
        changes: @escaping @Sendable (SQLDialect) -> [TableChange] = { _ in [] },
        creations: @escaping @Sendable (SQLDialect) -> [Query] = { _ in [] }
    ) {
        (self.version, self.name, self.changes, self.creations) = (version, name, changes, creations)
    }
}

/// Every change to the schema, oldest first. Append only: a shipped migration is never edited.
enum Migrations {
    static let all = [initialSchema, multipartUploads, collection, announcements, platforms, rounds, refusals]
}
