import Glibc

extension PostgresDatabase {
    package func inspect() async throws -> DatabaseFacts {
        try await perform { connection, _ in
            let db = try PostgresTransaction(connection, isExplicit: false)
            // Asked first, and in words that every version knows.
            let names = try db.run(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint"
            )
            let version = names.first.map { ($0.text(0), $0.int(1)) } ?? ("", 0)
            let tables = try db.run(
                """
                SELECT tablename, has_table_privilege(t.name, 'SELECT') AND has_table_privilege(t.name, 'INSERT')
                    AND has_table_privilege(t.name, 'UPDATE') AND has_table_privilege(t.name, 'DELETE')
                FROM pg_tables, LATERAL (SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name) t
                WHERE schemaname = current_schema()
                """
            )
            var facts = DatabaseFacts(version: "PostgreSQL \(version.0)", tables: Set(tables.map { $0.text(0) }))
            if version.1 < 150_000 { facts.versionFault = "it is \(facts.version); at least 15 is needed" }
            facts.closedTables = Set(tables.filter { $0.int(1) == 0 }.map { $0.text(0) })
            let rights = try db.run("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
            facts.canCreateTables = rights.first?.int(0) == 1
            facts.lossySettings = try db.run(
                """
                SELECT name || ' = ' || setting FROM pg_settings
                WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'off' ORDER BY name
                """
            ).map { $0.text(0) }
            facts.isExposed = connection.isExposed
            let before = Self.clock
            let there =
                try db.run("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").first?.int(0) ?? before
            facts.clockAhead = there - (before + Self.clock) / 2
            return facts
        }
    }

    /// Milliseconds since 1970 by this machine's clock.
    private static var clock: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
