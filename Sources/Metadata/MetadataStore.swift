import OCI
package import SQLStore

/// What the registry knows about its content. Every SQL statement of the program is in this module.
package struct MetadataStore: Sendable {
    let database: any SQLDatabase
    let promises: Promises

    package init(_ database: any SQLDatabase, promises: Promises = .standard) {
        self.database = database
        self.promises = promises
    }

    /// Brings the schema up to date. Safe to call from every process at start.
    ///
    /// - Returns: the names of the migrations that it ran.
    /// - Throws: ``SchemaError`` `.newer` if a newer program has changed the schema.
    @discardableResult
    package func migrate() async throws -> [String] {
        let dialect = database.dialect
        return try await database.write { db in
            try db.run(
                Query(
                    schema: """
                        CREATE TABLE IF NOT EXISTS schema_migration (
                            version \(dialect.integer) PRIMARY KEY,
                            name \(dialect.text) NOT NULL,
                            applied_at \(dialect.integer) NOT NULL
                        )
                        """
                )
            )
            let applied = try db.run("SELECT max(version) FROM schema_migration").first?.optionalInt(0) ?? 0
            let known = Migrations.all.last?.version ?? 0
            guard applied <= known else { throw SchemaError.newer(found: applied, known: known) }
            let missing = Migrations.all.filter { $0.version > applied }
            for migration in missing {
                for statement in migration.statements(dialect) { try db.run(statement) }
                try db.run(
                    """
                    INSERT INTO schema_migration (version, name, applied_at)
                    VALUES (\(migration.version), \(migration.name), \(db.now))
                    """
                )
            }
            return missing.map(\.name)
        }
    }

    /// A random value that all nodes share, made by the first that asks for it.
    ///
    /// - Parameter candidate: what to keep if there is none yet.
    package func secret(_ name: String, orElse candidate: [UInt8]) async throws -> [UInt8] {
        try await database.write { db in
            try db.run("INSERT INTO secret (name, value) VALUES (\(name), \(candidate)) ON CONFLICT (name) DO NOTHING")
            return try db.run("SELECT value FROM secret WHERE name = \(name)").first?.bytes(0) ?? candidate
        }
    }

    /// Answers if the database can be read, throws if not. What readiness means.
    package func ping() async throws {
        _ = try await database.read { db in try db.run("SELECT 1") }
    }
}

package enum SchemaError: Error, CustomStringConvertible {
    case newer(found: Int64, known: Int64)

    package var description: String {
        switch self {
        case .newer(let found, let known):
            """
            The database has schema version \(found), but this program knows only up to \(known). \
            Run the newer strata that wrote it; an older one must not touch its data.
            """
        }
    }
}

/// What a collector should look at later.
enum HintKind: Int64 {
    case manifest = 1
    case link = 2
    case blob = 3
}

extension SQLTransaction {
    func hint(_ kind: HintKind, _ ref: Int64, dueIn delay: Int64) throws {
        try run("INSERT INTO gc_hint (kind, due_at, ref) VALUES (\(kind.rawValue), \(now + delay), \(ref))")
    }

    /// The id of a repository, or nil if nothing was ever pushed to it.
    func repositoryID(_ name: RepositoryName) throws -> Int64? {
        try run("SELECT id FROM repository WHERE name = \(name)").first?.int(0)
    }

    /// The id of a repository, which exists from now on.
    func makeRepository(_ name: RepositoryName) throws -> Int64 {
        if let id = try repositoryID(name) { return id }
        try run("INSERT INTO repository (name, created_at) VALUES (\(name), \(now)) ON CONFLICT (name) DO NOTHING")
        guard let id = try repositoryID(name) else {
            throw RegistryError(.nameUnknown, "The repository \(name) was deleted just now; push again.")
        }
        return id
    }
}

extension MetadataStore {
    /// Whether an error says that the database's storage is full.
    package static func isStorageFull(_ error: any Error) -> Bool {
        if case .storageFull = error as? SQLError { true } else { false }
    }
}
