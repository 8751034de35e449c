import Logging
import SQLStore
import Testing

@testable import Metadata

/// Migrations of a filled database that other nodes use meanwhile. What an index build waits for is held open by a session
/// of the test's, for as long as the test needs.
@Suite("A migration of a filled PostgreSQL", .serialized, .enabled(if: Engine.server != nil), .timeLimit(.minutes(2)))
struct OnlineMigrationTests {
    /// As of the release that tests upgrade to, whatever has been appended since.
    private static let known = Array(Migrations.all.prefix(4))

    /// A database of many tags with an older schema.
    private struct Scene: Sendable {
        let made: PostgresDatabase.Settings
        /// A node of the previous release with a transaction open.
        let holder: Session
        let other: Session

        let tags: Int

        /// - Parameter version: of the schema.
        init(version: Int, tags: Int = 1000) async throws {
            self.tags = tags
            made = try await Engine.makePostgresDatabase()
            (holder, other) = (try Session(made), try Session(made))
            #expect(try await node().migrate(Array(Migrations.all.prefix(version))).count == version)
            try await other.run("INSERT INTO media_type (name) VALUES ('m')")
            try await other.run(
                """
                INSERT INTO manifest (repo_id, digest, media_type_id, created_at, keep_until, payload)
                VALUES (1, sha512('m'), 1, 0, 0, 'm')
                """
            )
            let filled = try await other.run(
                """
                INSERT INTO tag (repo_id, name, manifest_id, updated_at)
                SELECT 1, 'v' || n, 1, 0 FROM generate_series(1, \(tags)) n
                """
            )
            #expect(filled == "INSERT 0 \(tags)")
        }

        /// A process that starts, with connections of its own.
        func node(setsLimits: Bool = true) -> MetadataStore {
            let settings = PostgresDatabase.Settings(url: made.url, connections: 2, setsLimits: setsLimits)
            return MetadataStore(PostgresDatabase(settings, logger: Logger(label: "test")))
        }

        /// No index of tags is finished until ``letGo()``.
        func holdBuilds() async throws {
            #expect(try await holder.run("BEGIN; UPDATE tag SET updated_at = 1 WHERE name = 'v1'") == "UPDATE 1")
        }

        func letGo() async throws { #expect(try await holder.run("COMMIT") == "COMMIT") }

        /// What other nodes do, none of which waits for anything.
        func expectOthersGoOn() async throws {
            try await other.run("SET lock_timeout = '1s'")
            #expect(try await other.run("UPDATE tag SET updated_at = 2 WHERE name = 'v2'") == "UPDATE 1")
            #expect(try await other.run("SELECT count(*) FROM tag") == "\(tags)")
        }

        func version() async throws -> String { try await other.run("SELECT max(version) FROM schema_migration") }

        /// `t`, `f`, or what says that there is no such index.
        func isValid(_ index: String) async throws -> String {
            try await other.run("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('\(index)')")
        }

        func expectMigrated() async throws {
            #expect(try await isValid("tag_announced") == "t")
            #expect(try await version() == "4")
            #expect(try await other.run("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == "0")
        }
    }

    @Test("lets others write while an index is built, for longer than any limit of a connection")
    func writes() async throws {
        let scene = try await Scene(version: 3, tags: 120_000)
        try await scene.holdBuilds()
        async let ran = scene.node().migrate(Self.known)
        try await scene.other.waitUntilBlocked(count: 1)
        try await scene.expectOthersGoOn()
        // The statement_timeout of a pool's connection is 5 s.
        try await scene.holder.run("SELECT pg_sleep(5.5)")
        try await scene.expectOthersGoOn()
        #expect(try await scene.version() == "3")
        try await scene.letGo()
        #expect(try await ran == ["announcements"])
        try await scene.expectMigrated()
    }

    @Test("waits for whoever reads a table for long, and keeps nobody waiting behind itself")
    func columns() async throws {
        let scene = try await Scene(version: 2)
        #expect(try await scene.holder.run("BEGIN; SELECT count(*) FROM tag") == "1000")
        async let ran = scene.node().migrate(Self.known)
        try await scene.other.waitUntilBlocked(count: 1)
        try await scene.expectOthersGoOn()
        #expect(try await scene.version() == "2")
        try await scene.letGo()
        #expect(try await ran == ["collection and retention", "announcements"])
        try await scene.expectMigrated()
    }

    @Test("builds an index anew that was left half built")
    func invalidIndex() async throws {
        let scene = try await Scene(version: 3)
        try await scene.holdBuilds()
        try await scene.other.run("SET lock_timeout = '50ms'")
        let build = "CREATE INDEX CONCURRENTLY tag_announced ON tag (repo_id, name) WHERE expires_at IS NOT NULL"
        #expect(try await scene.other.run(build) == "55P03")
        #expect(try await scene.isValid("tag_announced") == "f")
        try await scene.letGo()
        #expect(try await scene.node().migrate(Self.known) == ["announcements"])
        try await scene.expectMigrated()
    }

    @Test("leaves alone a build that goes on at the server although its process has died")
    func orphanedBuild() async throws {
        let scene = try await Scene(version: 3)
        let orphan = try Session(scene.made)
        try await orphan.run("SET deadlock_timeout = '1s'")
        try await scene.holdBuilds()
        async let built = orphan.run(
            "CREATE INDEX CONCURRENTLY tag_announced ON tag (repo_id, name) WHERE expires_at IS NOT NULL"
        )
        try await scene.other.waitUntilBlocked(count: 1)
        async let ran = scene.node().migrate(Self.known)
        try await scene.other.waitUntilBlocked(count: 2)
        try await scene.expectOthersGoOn()
        try await scene.letGo()
        #expect(try await built == "CREATE INDEX")
        #expect(try await ran == ["announcements"])
        try await scene.expectMigrated()
    }

    @Test(
        "goes on after the server has ended a connection of its own",
        arguments: [
            "pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND state = 'active')",
            "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')",
        ]
    )
    func endedConnection(_ condition: String) async throws {
        let scene = try await Scene(version: 3)
        try await scene.holdBuilds()
        async let ran = scene.node().migrate(Self.known)
        try await scene.other.waitUntilBlocked(count: 1)
        let ended = try await scene.other.run(
            """
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND \(condition)
            """
        )
        #expect(ended == "1")
        try await scene.letGo()
        #expect(try await ran == ["announcements"])
        try await scene.expectMigrated()
    }

    @Test("is made by one of many nodes that start at once; the others wait, and hold nothing that the build waits for")
    func manyNodes() async throws {
        let scene = try await Scene(version: 3)
        try await scene.holdBuilds()
        let waiting = QueryLockTests.Scene.Box()
        let ran = try await withThrowingTaskGroup(of: [String].self) { group in
            for _ in 0..<4 { group.addTask { try await scene.node().migrate(Self.known) { waiting.add() } } }
            while waiting.count < 3 { try await Task.sleep(for: .milliseconds(1)) }
            try await scene.other.waitUntilBlocked(count: 1)
            try await scene.expectOthersGoOn()
            try await scene.letGo()
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(ran.sorted { $0.count > $1.count } == [["announcements"], [], [], []])
        try await scene.expectMigrated()
    }

    @Test("does not keep a node of the previous release from starting")
    func previousRelease() async throws {
        let scene = try await Scene(version: 3)
        try await scene.holdBuilds()
        async let ran = scene.node().migrate(Self.known)
        try await scene.other.waitUntilBlocked(count: 1)
        let previous = Array(Migrations.all.prefix(3))
        #expect(try await scene.node().migrate(previous) { Issue.record("it waits") } == [])
        try await scene.letGo()
        #expect(try await ran == ["announcements"])
        await #expect(throws: SchemaError.newer(found: 4, known: 3)) { try await scene.node().migrate(previous) }
    }

    @Test("says what to do where the limits of the role end a build")
    func roleLimits() async throws {
        let scene = try await Scene(version: 3)
        let name = try await scene.other.run("SELECT current_database()")
        try await scene.other.run("ALTER DATABASE \(name) SET statement_timeout = '200ms'")
        try await scene.holdBuilds()
        do {
            _ = try await scene.node(setsLimits: false).migrate(Self.known)
            Issue.record("nothing ended it")
        } catch SQLError.failed(let reason) {
            #expect(reason.contains("postgres.set-limits=true"))
        }
        async let ran = scene.node().migrate(Self.known)
        try await scene.other.waitUntilBlocked(count: 1)
        try await scene.letGo()
        #expect(try await ran == ["announcements"])
        try await scene.expectMigrated()
    }

    /// What tells schemas apart, in an order of its own.
    private func describe(_ settings: PostgresDatabase.Settings) async throws -> [String] {
        let queries = [
            """
            SELECT string_agg(concat_ws(' ', table_name, ordinal_position, column_name, data_type, collation_name,
                is_nullable, column_default, identity_generation), E'\\n' ORDER BY table_name, ordinal_position)
            FROM information_schema.columns WHERE table_schema = 'public'
            """,
            "SELECT string_agg(indexdef, E'\\n' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'",
            """
            SELECT string_agg(concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)), E'\\n'
                ORDER BY conrelid::regclass::text, conname)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            """,
        ]
        let session = try Session(settings)
        var answers: [String] = []
        for query in queries { answers.append(try await session.run(query)) }
        return answers
    }

    @Test(
        "ends with the schema that an empty database gets at once, whichever version it began with",
        arguments: 1..<Migrations.all.count
    )
    func sameSchema(_ version: Int) async throws {
        let fresh = try await Engine.makePostgresDatabase()
        #expect(
            try await MetadataStore(PostgresDatabase(fresh, logger: Logger(label: "test"))).migrate()
                == Migrations.all.map(\.name)
        )
        let scene = try await Scene(version: version)
        #expect(try await scene.node().migrate() == Migrations.all.dropFirst(version).map(\.name))
        let (expected, found) = (try await describe(fresh), try await describe(scene.made))
        #expect(found == expected && expected.allSatisfy { $0.count > 1000 })
    }

    @Test("of an empty database is made at once by one of many nodes")
    func emptyDatabase() async throws {
        let settings = try await Engine.makePostgresDatabase()
        let ran = try await withThrowingTaskGroup(of: [String].self) { group in
            for _ in 0..<8 {
                group.addTask {
                    try await MetadataStore(PostgresDatabase(settings, logger: Logger(label: "test"))).migrate()
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(ran.filter { !$0.isEmpty } == [Migrations.all.map(\.name)])
    }
}
