import Glibc
import Logging
import Testing

@testable import SQLStore

/// What a process does about a PostgreSQL that takes too long, or ends its connections.
@Suite("The limits of work at PostgreSQL", .serialized, .enabled(if: Engine.server != nil), .timeLimit(.minutes(1)))
struct PostgresLimitTests {
    private typealias Counter = QueryLockTests.Scene.Box

    /// One connection to a database with a table `t` of one row, which `holder` can keep others from.
    private struct Scene: Sendable {
        let made: PostgresDatabase.Settings
        let database: PostgresDatabase
        let holder: Session
        let observer: Session
        let retried = Counter()
        let refused = Counter()

        /// - Parameter limits: the server's, in place of the ones that are set on each connection.
        init(
            limits: String? = nil,
            queue: Int = 2000,
            patience: Duration = .seconds(15),
            answer: Duration? = nil
        ) async throws {
            made = try await Engine.makePostgresDatabase()
            (holder, observer) = (try Session(made), try Session(made))
            #expect(try await observer.run("CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (0)") == "INSERT 0 1")
            let (retried, refused) = (retried, refused)
            database = PostgresDatabase(
                PostgresDatabase.Settings(
                    url: made.url + (limits.map { " options='\($0)'" } ?? ""),
                    connections: 1,
                    queue: queue,
                    patience: patience,
                    setsLimits: limits == nil,
                    answer: answer
                ),
                observer: PostgresDatabase.Observer(
                    load: { _ in },
                    retried: { retried.add() },
                    refused: { refused.add() }
                ),
                logger: Logger(label: "test")
            )
        }

        /// The number of the server process that the connection leads to.
        func process() async throws -> Int64 {
            try await database.read { try $0.run("SELECT pg_backend_pid()::bigint")[0].int(0) }
        }

        func increment() async throws { try await database.write { try $0.run("UPDATE t SET n = n + 1") } }

        func number() async throws -> String { try await observer.run("SELECT n FROM t") }

        func hold() async throws { try await holder.run("BEGIN; LOCK TABLE t") }

        func letGo() async throws { #expect(try await holder.run("COMMIT") == "COMMIT") }

        /// Returns once the server has no such process any more.
        func waitForEnd(of process: Int64) async throws {
            while try await observer.run("SELECT count(*) FROM pg_stat_activity WHERE pid = \(process)") != "0" {}
        }
    }

    /// Expects that it is refused, with an error after which a client may try again.
    private func expectRefusal(_ reason: String, _ body: () async throws -> Void) async {
        do {
            try await body()
            Issue.record("nothing was refused")
        } catch SQLError.unavailable(let found) {
            #expect(found.contains(reason))
        } catch {
            Issue.record("another error: \(error)")
        }
    }

    @Test("are set on each connection, whatever the server's are")
    func settings() async throws {
        let scene = try await Scene()
        let name = try await scene.observer.run("SELECT current_database()")
        try await scene.observer.run("ALTER DATABASE \(name) SET statement_timeout = '7min'")
        let found = try await scene.database.read { db in
            try db.run(
                """
                SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
                    current_setting('idle_in_transaction_session_timeout')
                """
            )[0]
        }
        #expect((0..<3).map { found.text($0) } == ["5s", "2s", "10s"])
    }

    @Test("end a statement that takes too long: it is refused in the end, and its connection is used again")
    func statement() async throws {
        let scene = try await Scene(limits: "-c statement_timeout=300ms", patience: .seconds(1))
        let process = try await scene.process()
        await expectRefusal("57014") { _ = try await scene.database.read { try $0.run("SELECT 1 FROM pg_sleep(60)") } }
        await expectRefusal("57014") {
            try await scene.database.write { db in
                try db.run("UPDATE t SET n = n + 1")
                try db.run("SELECT 1 FROM pg_sleep(60)")
            }
        }
        #expect(scene.retried.count > 0 && scene.refused.count == 2)
        #expect(try await scene.number() == "0")
        #expect(try await scene.process() == process)
        try await scene.increment()
        #expect(try await scene.number() == "1")
    }

    @Test("end the wait for a lock: work is done again until its time is up, and its connection is used again")
    func lock() async throws {
        let scene = try await Scene(limits: "-c lock_timeout=50ms", patience: .seconds(1))
        let process = try await scene.process()
        try await scene.hold()
        await expectRefusal("55P03") { try await scene.increment() }
        #expect(scene.retried.count > 0 && scene.refused.count == 1)
        try await scene.letGo()
        try await scene.increment()
        #expect(try await scene.number() == "1")
        #expect(try await scene.process() == process)
    }

    @Test("end the wait for a lock, which is had at a later try")
    func laterTry() async throws {
        let scene = try await Scene(limits: "-c lock_timeout=50ms")
        try await scene.hold()
        async let done: Void = scene.increment()
        while scene.retried.count == 0 { await Task.yield() }
        try await scene.letGo()
        try await done
        #expect(try await scene.number() == "1")
        #expect(scene.refused.count == 0)
    }

    @Test("end a transaction that does nothing: it is done again as a whole, on another connection")
    func idleTransaction() async throws {
        let scene = try await Scene(limits: "-c idle_in_transaction_session_timeout=500ms")
        let first = try await scene.process()
        let url = scene.made.url
        try await scene.database.write { db in
            try db.run("UPDATE t SET n = n + 1")
            let process = try db.run("SELECT pg_backend_pid()::bigint")[0].int(0)
            if process == first { try Self.waitForEnd(of: process, url) }
            try db.run("UPDATE t SET n = n + 1")
        }
        #expect(try await scene.number() == "2")
        #expect(scene.retried.count > 0)
        #expect(try await scene.process() != first)
    }

    /// Blocks until the server has no such process any more.
    private static func waitForEnd(of process: Int64, _ url: String) throws {
        let watcher = try PostgresConnection(url, setup: "", preparesStatements: false, clock: ServerClock())
        while try watcher.script("SELECT count(*) FROM pg_stat_activity WHERE pid = \(process)") != "0" {}
    }

    @Test("are not felt when the server ends a connection that nobody uses, or a transaction under way")
    func endedConnections() async throws {
        let scene = try await Scene()
        let first = try await scene.process()
        try await scene.observer.run("SELECT pg_terminate_backend(\(first))")
        try await scene.waitForEnd(of: first)
        try await scene.increment()
        let second = try await scene.process()
        #expect(second != first)
        try await scene.hold()
        async let done: Void = scene.increment()
        try await scene.observer.waitUntilBlocked(count: 1)
        try await scene.observer.run("SELECT pg_terminate_backend(\(second))")
        try await scene.waitForEnd(of: second)
        try await scene.letGo()
        try await done
        #expect(try await scene.number() == "2")
        #expect(scene.refused.count == 0)
    }

    @Test("refuse at once what comes when the queue is full, and nothing else")
    func queue() async throws {
        let scene = try await Scene(queue: 1)
        try await scene.hold()
        async let first: Void = scene.increment()
        try await scene.observer.waitUntilBlocked(count: 1)
        await expectRefusal("1 requests wait for it already") { try await scene.increment() }
        #expect(scene.refused.count == 1)
        try await scene.letGo()
        try await first
        try await scene.increment()
        #expect(try await scene.number() == "2")
    }

    @Test("refuse what no connection became free for, however long the others keep theirs")
    func patience() async throws {
        let scene = try await Scene(limits: "-c lock_timeout=20s", patience: .seconds(1))
        try await scene.hold()
        async let first: Void = scene.increment()
        try await scene.observer.waitUntilBlocked(count: 1)
        await expectRefusal("no connection became free in time") { try await scene.increment() }
        try await scene.observer.waitUntilBlocked(count: 1)  // the first still is
        try await scene.letGo()
        try await first
        #expect(try await scene.number() == "1", "what was refused is never done")
        #expect(scene.refused.count == 1)
    }

    @Test("do not hold for a snapshot, which is not idle while it thinks")
    func thoughtfulSnapshot() async throws {
        let scene = try await Scene(limits: "-c idle_in_transaction_session_timeout=200ms -c statement_timeout=200ms")
        let number = try await scene.database.snapshot { db in
            usleep(600_000)
            return try db.run("SELECT n FROM t, pg_sleep(0.6)")[0].int(0)
        }
        #expect(number == 0)
        #expect(scene.retried.count == 0)
    }

    @Test("hold for a server that stands still: it is given up, and asked on another connection")
    func silentServer() async throws {
        let scene = try await Scene(answer: .seconds(1))
        let first = try await scene.process()
        kill(pid_t(first), SIGSTOP)
        defer { kill(pid_t(first), SIGCONT) }
        try await scene.increment()
        #expect(try await scene.process() != first)
        #expect(try await scene.number() == "1")
        #expect(scene.retried.count == 1)
    }
}
