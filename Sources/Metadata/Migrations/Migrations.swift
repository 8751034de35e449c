import SQLStore

/// One numbered change to the schema.
struct Migration: Sendable {
    let version: Int64
    let name: String
    let statements: @Sendable (SQLDialect) -> [Query]
}

/// Every change to the schema, oldest first. Append only: a shipped migration is never edited.
enum Migrations {
    static let all = [initialSchema, multipartUploads, collection, announcements, platforms]
}
