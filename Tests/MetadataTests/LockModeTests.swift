import SQLStore
import Testing

/// Facts about PostgreSQL's row locks that the queries of this program rely on, each shown on a server. A link may be
/// deleted while no edge names it; a pusher adds an edge to a link that it found, a collector deletes links. What must
/// never be left is an edge without its link. docs/adr/0005-locks-before-checks.md says what follows from them.
@Suite("PostgreSQL's row locks", .enabled(if: Engine.server != nil))
struct LockModeTests {
    /// A pusher, a collector and one who looks, on a link that nothing names yet.
    private struct Scene {
        let pusher: Session
        let collector: Session
        let observer: Session

        init(foreignKey: Bool) async throws {
            let settings = try await Engine.makePostgresDatabase()
            (pusher, collector, observer) = (try Session(settings), try Session(settings), try Session(settings))
            try await observer.run(
                """
                CREATE TABLE link (id BIGINT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'live');
                CREATE TABLE edge (link BIGINT NOT NULL \(foreignKey ? "REFERENCES link (id)" : ""));
                INSERT INTO link VALUES (1), (2)
                """
            )
        }

        /// Finds the link, locks it against deletion and names it, without ending the transaction.
        func push() async throws {
            #expect(try await pusher.run("BEGIN; SELECT id FROM link WHERE id = 1 FOR KEY SHARE") == "1")
            #expect(try await pusher.run("INSERT INTO edge VALUES (1)") == "INSERT 0 1")
        }

        /// Runs a statement of the collector's that has to wait for the pusher, who commits meanwhile.
        func collectAsPusherCommits(_ sql: String) async throws -> String {
            async let outcome = collector.run(sql)
            try await observer.waitUntilBlocked(collector)
            #expect(try await pusher.run("COMMIT") == "COMMIT")
            return try await outcome
        }

        /// Whether every edge has a link that lives.
        var isWhole: Bool {
            get async throws {
                try await observer.run(
                    """
                    SELECT count(*) FROM edge LEFT JOIN link ON link.id = edge.link AND link.state = 'live'
                    WHERE link.id IS NULL
                    """
                ) == "0"
            }
        }
    }

    private static let deleteUnnamed =
        "DELETE FROM link WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM edge WHERE edge.link = link.id)"
    private static let foreignKeyViolation = "23503"

    @Test("UNSAFE: one statement that checks and deletes does not check again when it has waited for a mere lock")
    func oneStatement() async throws {
        let scene = try await Scene(foreignKey: false)
        try await scene.push()
        #expect(try await scene.collectAsPusherCommits(Self.deleteUnnamed) == "DELETE 1")
        #expect(try await !scene.isWhole)
    }

    @Test("safe: the same where a foreign key refuses it")
    func oneStatementWithForeignKey() async throws {
        let scene = try await Scene(foreignKey: true)
        try await scene.push()
        #expect(try await scene.collectAsPusherCommits(Self.deleteUnnamed) == Self.foreignKeyViolation)
        #expect(try await scene.isWhole)
    }

    @Test("safe: FOR UPDATE first, the check in a later statement, foreign key or not", arguments: [false, true])
    func lockThenCheck(_ foreignKey: Bool) async throws {
        let scene = try await Scene(foreignKey: foreignKey)
        try await scene.push()
        let lock = "BEGIN; SELECT id FROM link WHERE id = 1 FOR UPDATE"
        #expect(try await scene.collectAsPusherCommits(lock) == "1")
        #expect(try await scene.collector.run(Self.deleteUnnamed) == "DELETE 0")
        #expect(try await scene.collector.run("COMMIT") == "COMMIT")
        #expect(try await scene.isWhole)
    }

    @Test(
        "UNSAFE but for the foreign key: the check first, then FOR UPDATE, then the deletion",
        arguments: [false, true]
    )
    func checkThenLock(_ foreignKey: Bool) async throws {
        let scene = try await Scene(foreignKey: foreignKey)
        try await scene.push()
        #expect(try await scene.collector.run("BEGIN; SELECT count(*) FROM edge WHERE link = 1") == "0")
        #expect(try await scene.collectAsPusherCommits("SELECT id FROM link WHERE id = 1 FOR UPDATE") == "1")
        let outcome = try await scene.collector.run("DELETE FROM link WHERE id = 1")
        #expect(outcome == (foreignKey ? Self.foreignKeyViolation : "DELETE 1"))
        try await scene.collector.run("COMMIT")
        #expect(try await scene.isWhole == foreignKey)
    }

    @Test(
        "UNSAFE: a tombstone, UPDATE … SET state, waits for no pusher and no pusher for it",
        arguments: [false, true]
    )
    func tombstone(_ foreignKey: Bool) async throws {
        let scene = try await Scene(foreignKey: foreignKey)
        let bury = """
            BEGIN; UPDATE link SET state = 'dead' WHERE id = 1
            AND NOT EXISTS (SELECT 1 FROM edge WHERE edge.link = link.id)
            """
        #expect(try await scene.collector.run(bury) == "UPDATE 1")
        try await scene.push()  // finds it alive, and the foreign key's own lock is KEY SHARE too
        #expect(try await scene.pusher.run("COMMIT") == "COMMIT")
        #expect(try await scene.collector.run("COMMIT") == "COMMIT")
        #expect(try await !scene.isWhole)
    }

    @Test("safe, but it makes pushers wait: a tombstone where they look at the state FOR SHARE")
    func tombstoneAgainstShare() async throws {
        let scene = try await Scene(foreignKey: true)
        #expect(try await scene.collector.run("BEGIN; UPDATE link SET state = 'dead' WHERE id = 1") == "UPDATE 1")
        async let found = scene.pusher.run("SELECT id FROM link WHERE id = 1 AND state = 'live' FOR SHARE")
        try await scene.observer.waitUntilBlocked(scene.pusher)
        #expect(try await scene.collector.run("COMMIT") == "COMMIT")
        #expect(try await found == "SELECT 0")
    }

    @Test("UNSAFE but for the foreign key: FOR NO KEY UPDATE, then check and deletion", arguments: [false, true])
    func noKeyUpdate(_ foreignKey: Bool) async throws {
        let scene = try await Scene(foreignKey: foreignKey)
        try await scene.push()
        // It does not wait, so the check that follows runs too early.
        #expect(try await scene.collector.run("BEGIN; SELECT id FROM link WHERE id = 1 FOR NO KEY UPDATE") == "1")
        let outcome = try await scene.collectAsPusherCommits(Self.deleteUnnamed)
        #expect(outcome == (foreignKey ? Self.foreignKeyViolation : "DELETE 1"))
        try await scene.collector.run("COMMIT")
        #expect(try await scene.isWhole == foreignKey)
    }

    @Test(
        "UNSAFE but for the foreign key: lock and check in two statements on one snapshot",
        arguments: ["REPEATABLE READ", "SERIALIZABLE"],
        [false, true]
    )
    func oneSnapshot(_ isolation: String, _ foreignKey: Bool) async throws {
        let scene = try await Scene(foreignKey: foreignKey)
        try await scene.push()
        let lock = "BEGIN ISOLATION LEVEL \(isolation); SELECT id FROM link WHERE id = 1 FOR UPDATE"
        #expect(try await scene.collectAsPusherCommits(lock) == "1")
        let outcome = try await scene.collector.run(Self.deleteUnnamed)
        #expect(outcome == (foreignKey ? Self.foreignKeyViolation : "DELETE 1"))
        try await scene.collector.run("COMMIT")
        #expect(try await scene.isWhole == foreignKey)
    }

    @Test("FOR UPDATE SKIP LOCKED passes over a link that a pusher holds, without waiting")
    func skipLocked() async throws {
        let scene = try await Scene(foreignKey: true)
        try await scene.push()
        let lock = "SELECT id FROM link WHERE id IN (1, 2) ORDER BY id FOR UPDATE SKIP LOCKED"
        #expect(try await scene.collector.run("BEGIN; " + lock) == "2")
    }

    @Test("ON CONFLICT DO NOTHING waits for a deletion under way, and inserts when it is committed")
    func insertAfterDeletion() async throws {
        let scene = try await Scene(foreignKey: true)
        #expect(try await scene.collector.run("BEGIN; DELETE FROM link WHERE id = 1") == "DELETE 1")
        async let outcome = scene.pusher.run("INSERT INTO link VALUES (1) ON CONFLICT (id) DO NOTHING")
        try await scene.observer.waitUntilBlocked(scene.pusher)
        #expect(try await scene.collector.run("COMMIT") == "COMMIT")
        #expect(try await outcome == "INSERT 0 1")
    }

    @Test("ON CONFLICT DO NOTHING locks nothing: only FOR KEY SHARE afterwards tells whether the row is still there")
    func conflictLocksNothing() async throws {
        let scene = try await Scene(foreignKey: false)
        #expect(
            try await scene.pusher.run("BEGIN; INSERT INTO link VALUES (1) ON CONFLICT (id) DO NOTHING") == "INSERT 0 0"
        )
        #expect(try await scene.collector.run(Self.deleteUnnamed) == "DELETE 1")  // at once
        #expect(try await scene.pusher.run("SELECT id FROM link WHERE id = 1 FOR KEY SHARE") == "SELECT 0")
        // Who does not ask goes wrong.
        #expect(try await scene.pusher.run("INSERT INTO edge VALUES (1); COMMIT") == "COMMIT")
        #expect(try await !scene.isWhole)
    }

    @Test(
        "two who lock the same rows in different orders deadlock, and not in the same order",
        arguments: [false, true]
    )
    func order(_ isSame: Bool) async throws {
        let scene = try await Scene(foreignKey: false)
        func lock(_ id: Int) -> String { "SELECT id FROM link WHERE id = \(id) FOR NO KEY UPDATE" }
        #expect(try await scene.pusher.run("BEGIN; " + lock(1)) == "1")
        if !isSame { #expect(try await scene.collector.run("BEGIN; " + lock(2)) == "2") }
        async let waiting = scene.collector.run(isSame ? "BEGIN; " + lock(1) : lock(1))
        try await scene.observer.waitUntilBlocked(scene.collector)
        let mine = try await scene.pusher.run(lock(2))
        try await scene.pusher.run("COMMIT")
        #expect([mine, try await waiting].contains("40P01") == !isSame)
    }
}
