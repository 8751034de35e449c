/// A change to a table that may be filled, and in use by processes of the previous release, which know nothing of it.
package enum TableChange: Sendable {
    /// One more column, which is null or a constant in the rows that there are.
    ///
    /// - Parameter type: all that stands behind the column's name.
    case column(_ name: String, of: String, type: String)
    /// One more index, which is not unique.
    ///
    /// - Parameter columns: all that stands behind the table's name.
    case index(_ name: String, of: String, columns: String)

    /// The change in one transaction with others, where nobody waits for it.
    package var statement: Query {
        switch self {
        case .column(let name, let table, let type):
            Query(schema: "ALTER TABLE \(table) ADD COLUMN \(name) \(type)")
        case .index(let name, let table, let columns):
            Query(schema: "CREATE INDEX \(name) ON \(table) \(columns)")
        }
    }
}

/// What became of changes to the schema.
package enum SchemaOutcome: Sendable {
    case made
    /// Somebody else had made them.
    case notDue
    /// Another process changes the schema: to be asked for again in a moment.
    case busy
}

extension SQLDatabase {
    package func change(
        _ changes: [TableChange],
        ifDue isDue: @escaping @Sendable (any SQLTransaction) throws -> Bool,
        then completion: @escaping @Sendable (any SQLTransaction) throws -> Void
    ) async throws -> SchemaOutcome {
        try await write { db in
            guard try isDue(db) else { return .notDue }
            for change in changes { try db.run(change.statement) }
            try completion(db)
            return .made
        }
    }
}
