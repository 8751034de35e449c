import SQLStore

/// What an operator has to know of the database.
package struct DatabaseHealth: Sendable {
    /// Such as `PostgreSQL 15.20`.
    package let version: String
    /// Why this version cannot be used; nil if it can.
    package let versionFault: String?
    /// Why its rights do not do; nil if they do.
    package let rightsFault: String?
    package let schema: SchemaState
    /// Settings with which acknowledged commits may be lost, such as `fsync = off`.
    package let lossySettings: [String]
    /// Whether others on a network can read what is sent to it.
    package let isExposed: Bool
    /// How far its clock is ahead of this machine's.
    package let clockAhead: Duration
}

package enum SchemaState: Hashable, Sendable {
    case current
    /// Migrations are still to be run, this many.
    case behind(Int)
    /// A newer program has changed it.
    case newer(SchemaError)
}

extension MetadataStore {
    /// Throws unless the database has the schema of this program. Changes nothing.
    ///
    /// - Throws: ``SchemaError``.
    package func requireCurrentSchema() async throws {
        let isThere = try await database.inspect().tables.contains("schema_migration")
        let found = isThere ? try await database.read { try $0.schemaVersion() } : 0
        let known = Migrations.all.last?.version ?? 0
        if found > known { throw SchemaError.newer(found: found, known: known) }
        if found < known { throw SchemaError.older(found: found, known: known) }
    }

    /// Looks and changes nothing, the schema least of all.
    package func health() async throws -> DatabaseHealth {
        let facts = try await database.inspect()
        let isKnown = facts.tables.contains("schema_migration") && !facts.closedTables.contains("schema_migration")
        let applied = isKnown ? try await database.read { try $0.schemaVersion() } : 0
        let known = Migrations.all.last?.version ?? 0
        let schema: SchemaState =
            if applied > known {
                .newer(SchemaError.newer(found: applied, known: known))
            } else {
                applied == known ? .current : .behind(Migrations.all.count { $0.version > applied })
            }
        return DatabaseHealth(
            version: facts.version,
            versionFault: facts.versionFault,
            rightsFault: Self.rightsFault(facts, isCurrent: schema == .current),
            schema: schema,
            lossySettings: facts.lossySettings,
            isExposed: facts.isExposed,
            clockAhead: .milliseconds(facts.clockAhead)
        )
    }

    private static func rightsFault(_ facts: DatabaseFacts, isCurrent: Bool) -> String? {
        if let closed = facts.closedTables.sorted().first {
            return "this user may not read and write the table \(closed)"
        }
        return facts.canCreateTables || isCurrent ? nil : "this user may not create tables in its schema"
    }
}
