import SQLStore

extension MetadataStore {
    /// Brings the schema up to date, while others serve. Safe to call from every process at start: one does it, and the
    /// others return when it is done.
    ///
    /// - Parameter waiting: told once if another process is at it.
    /// - Returns: the names of the migrations that it ran.
    /// - Throws: ``SchemaError`` `.newer` if a newer program has changed the schema.
    @discardableResult
    package func migrate(waiting: @Sendable () -> Void = {}) async throws -> [String] {
        try await migrate(Migrations.all, waiting: waiting)
    }

    /// Pauses before a process is asked again that changes the schema: the first and the longest.
    private static let pauses = (Duration.milliseconds(20), Duration.seconds(1))
    /// How long that process is waited for: for the longest builds of indexes. Then the start fails, and the next one goes on.
    private static let patience = Duration.seconds(6 * 3600)

    func migrate(_ migrations: [Migration], waiting: @Sendable () -> Void = {}) async throws -> [String] {
        let dialect = database.dialect
        let deadline = ContinuousClock.now + Self.patience
        var pause = Self.pauses.0
        var ran: [String] = []
        while true {
            switch try await begin(migrations) {
            case .done(let names): return ran + names
            case .next(let migration):
                let outcome = try await database.change(migration.changes(dialect)) { db in
                    try db.schemaVersion() < migration.version
                } then: { db in
                    for creation in migration.creations(dialect) { try db.run(creation) }
                    try db.record(migration)
                }
                if case .made = outcome { ran.append(migration.name) }
                guard case .busy = outcome else { continue }
            case .busy: break
            }
            guard ContinuousClock.now < deadline else {
                throw SQLError.unavailable("another process changes its schema")
            }
            if pause == Self.pauses.0 { waiting() }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, Self.pauses.1)
        }
    }

    private enum Step: Sendable {
        /// The schema is up to date, and these migrations were run just now.
        case done([String])
        case next(Migration)
        /// Another process has begun.
        case busy
    }

    /// Makes the whole schema at once where there is none; else finds what is missing.
    private func begin(_ migrations: [Migration]) async throws -> Step {
        let dialect = database.dialect
        return try await database.write { db in
            let lock = try dialect.schemaLock.flatMap { try db.run($0).first }
            let isOurs = lock.map { $0.int(0) == 1 } ?? true
            if lock.map({ $0.int(1) == 0 }) ?? true {
                guard isOurs else { return .busy }
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
            }
            let applied = try db.schemaVersion()
            let known = migrations.last?.version ?? 0
            guard applied <= known else { throw SchemaError.newer(found: applied, known: known) }
            let missing = migrations.filter { $0.version > applied }
            guard isOurs || missing.isEmpty else { return .busy }
            if applied > 0, let next = missing.first { return .next(next) }
            for migration in missing {
                for change in migration.changes(dialect) { try db.run(change.statement) }
                for creation in migration.creations(dialect) { try db.run(creation) }
                try db.record(migration)
            }
            return .done(missing.map(\.name))
        }
    }
}

extension SQLTransaction {
    fileprivate func record(_ migration: Migration) throws {
        try run(
            """
            INSERT INTO schema_migration (version, name, applied_at)
            VALUES (\(migration.version), \(migration.name), \(now))
            """
        )
    }
}
