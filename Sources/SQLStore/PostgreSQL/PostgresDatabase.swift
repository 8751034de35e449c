import Glibc
package import Logging
import NIOPosix
import Synchronization

/// PostgreSQL 15 or newer, through libpq. A bounded number of connections, each used by one thread at a time; more work
/// waits for a bounded time in a bounded queue.
///
/// Work that was undone through no fault of its own (a deadlock, a lost connection, a server that restarts or hands over
/// to another) is done again until its time is up. A commit whose answer was lost is looked up before anybody is told.
package final class PostgresDatabase: SQLDatabase {
    package struct Settings: Sendable {
        /// A libpq connection string or URI; several hosts are tried in turn until one accepts writes.
        /// Source: [PostgreSQL 15, 34.1.1](https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING).
        package let url: String
        /// Most connections.
        package let connections: Int
        /// Most pieces of work under way and waiting; more are refused at once.
        package let queue: Int
        /// How long a piece of work may wait and be tried again before it is refused.
        package let patience: Duration
        /// Whether statements are prepared once for each connection. PgBouncer before 1.21 cannot do it in transaction mode.
        package let preparesStatements: Bool
        /// Whether time limits are set on each connection; else they must be set on the role.
        package let setsLimits: Bool
        /// How long an answer is waited for. Longer than any statement may take by ``PostgresDatabase/limits``, or may be expected to
        /// take by a role's.
        package let answer: Duration

        package init(
            url: String,
            connections: Int = 16,
            queue: Int = 2000,
            patience: Duration = .seconds(15),
            preparesStatements: Bool = true,
            setsLimits: Bool = true,
            answer: Duration? = nil
        ) {
            (self.url, self.connections, self.queue) = (url, connections, queue)
            (self.patience, self.preparesStatements) = (patience, preparesStatements)
            self.setsLimits = setsLimits
            self.answer = answer ?? (setsLimits ? .seconds(8) : .seconds(60))
        }
    }

    /// What the pool tells, for metrics.
    package struct Observer: Sendable {
        /// Pieces of work under way and waiting.
        package let load: @Sendable (Int) -> Void
        package let retried: @Sendable () -> Void
        /// Work was given up: too much was waiting, or its time was up.
        package let refused: @Sendable () -> Void

        package init(
            load: @escaping @Sendable (Int) -> Void,
            retried: @escaping @Sendable () -> Void,
            refused: @escaping @Sendable () -> Void = {}
        ) {
            (self.load, self.retried, self.refused) = (load, retried, refused)
        }
    }

    package let dialect = SQLDialect(
        identity: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        givenIdentity: "OVERRIDING SYSTEM VALUE",
        bytes: "BYTEA",
        integer: "BIGINT",
        text: "TEXT COLLATE \"C\"",
        tableOptions: "",
        clusteredTableOptions: "",
        schemaLock: schemaLock,
        tableLock: { ["LOCK TABLE \(word: $0) IN SHARE MODE"] },
        planSettings: [
            "SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off", "SET LOCAL enable_hashjoin = off",
            "SET LOCAL enable_mergejoin = off",
        ],
        explain: "EXPLAIN ",
        planColumn: 0,
        scan: "Seq Scan",
        search: "Index Cond: ",
        indexes: """
            SELECT t.relname, c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_class t ON t.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = i.indexrelid
            WHERE c.relnamespace = current_schema()::regnamespace AND i.indisvalid ORDER BY c.relname, a.attnum
            """,
        epoch: "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
        // Many times what a commit takes; locks may be waited for much longer.
        patience: .milliseconds(100),
        backgroundRows: 128
    )

    private struct Pool {
        /// A connection is used only by the thread that took it out.
        var idle: [Handed] = []
        var load = 0
    }

    /// Hands a connection from one thread to the next.
    // Unchecked: the mutex around the pool orders the threads, and only one of them has taken a connection out.
    private struct Handed: @unchecked Sendable { let connection: PostgresConnection }

    let settings: Settings
    private let threads: NIOThreadPool
    private let pool = Mutex(Pool())
    let clock = ServerClock()
    private let observer: Observer?
    let logger: Logger

    /// Connects when it is first used.
    package init(_ settings: Settings, observer: Observer? = nil, logger: Logger) {
        self.settings = settings
        self.observer = observer
        self.logger = logger
        threads = NIOThreadPool(numberOfThreads: settings.connections)
        threads.start()
    }

    deinit { threads.shutdownGracefully { _ in } }

    @discardableResult
    package func write<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await perform { connection, retry in
            let transaction = try PostgresTransaction(connection, isExplicit: true)
            let result = try self.undoing(connection) { try body(transaction) }
            do {
                try self.undoing(connection) { try transaction.commit() }
            } catch let error as PostgresError where error.meaning == .connectionLost {
                guard let id = transaction.id, try self.wasCommitted(id, of: connection.incarnation, error) else {
                    throw error
                }
                retry.mustReplaceConnection = true
            }
            return result
        }
    }

    package func read<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await perform { connection, _ in try body(PostgresTransaction(connection, isExplicit: false)) }
    }

    package func snapshot<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await perform { connection, _ in
            connection.patience = nil
            defer { connection.patience = self.settings.answer }
            // Nor is it idle when it thinks about what it has read.
            try connection.script(
                """
                BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0
                """
            )
            return try self.undoing(connection) {
                let result = try body(PostgresTransaction(connection, isExplicit: false))
                try connection.script("COMMIT")
                return result
            }
        }
    }

    // MARK: - The pool

    struct Attempt {
        /// The connection broke after the work was done.
        var mustReplaceConnection = false
    }

    func perform<Result: Sendable>(
        _ work: @escaping @Sendable (PostgresConnection, inout Attempt) throws -> Result
    ) async throws -> Result {
        let load = pool.withLock { pool -> Int? in
            guard pool.load < settings.queue else { return nil }
            pool.load += 1
            observer?.load(pool.load)
            return pool.load
        }
        do {
            guard let load else { throw SQLError.unavailable("\(settings.queue) requests wait for it already") }
            defer {
                pool.withLock { pool in
                    pool.load -= 1
                    observer?.load(pool.load)
                }
            }
            let deadline = ContinuousClock.now + settings.patience
            let tries: @Sendable () throws -> Result = { [self] in try tryUntil(deadline, work) }
            // There is a thread for each connection.
            guard load > settings.connections else { return try await threads.runIfActive(tries) }
            return try await QueuedWork.run(on: threads, until: deadline, orElse: Self.noConnection, tries)
        } catch let error as SQLError {
            if case .unavailable = error { observer?.refused() }
            throw error
        }
    }

    private static let noConnection = SQLError.unavailable("no connection became free in time")

    private func tryUntil<Result>(
        _ deadline: ContinuousClock.Instant,
        _ work: (PostgresConnection, inout Attempt) throws -> Result
    ) throws -> Result {
        guard ContinuousClock.now < deadline else { throw Self.noConnection }
        var pause = Duration.milliseconds(5)
        while true {
            do {
                return try once(work)
            } catch let error as PostgresError {
                guard error.meaning != .failed, error.meaning != .storageFull,
                    ContinuousClock.now + pause < deadline
                else { throw error.reported }
                logger.debug("database work is tried again", metadata: ["reason": "\(error.message)"])
            } catch SQLError.conflict where ContinuousClock.now + pause < deadline {
                logger.debug("database work is tried again", metadata: ["reason": "conflict"])
            }
            observer?.retried()
            Self.sleep(pause)
            pause = min(pause * 2, .milliseconds(500))
        }
    }

    /// Blocks the thread for about so long, since those that met are not to meet again.
    static func sleep(_ pause: Duration) { usleep(UInt32(Double.random(in: 0.5...1) * pause.seconds * 1_000_000)) }

    private func once<Result>(_ work: (PostgresConnection, inout Attempt) throws -> Result) throws -> Result {
        let connection = try pool.withLock { $0.idle.popLast() }?.connection ?? connect()
        var attempt = Attempt()
        do {
            let result = try work(connection, &attempt)
            if !attempt.mustReplaceConnection { giveBack(connection) }
            return result
        } catch let error as PostgresError where error.meaning == .connectionLost {
            // The others have most likely broken with it: each would cost another try.
            pool.withLock { $0.idle.removeAll() }
            throw error
        } catch {
            giveBack(connection)
            throw error
        }
    }

    private func giveBack(_ connection: PostgresConnection) {
        let handed = Handed(connection: connection)
        pool.withLock { $0.idle.append(handed) }
    }

    private static let limits =
        "SET statement_timeout = '5s'; SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '10s'"

    /// - Parameter setup: what limits the connection, where that is set on connections.
    func connect(setup: String = limits) throws -> PostgresConnection {
        try PostgresConnection(
            settings.url,
            setup: settings.setsLimits ? setup : "",
            preparesStatements: settings.preparesStatements,
            patience: settings.answer,
            clock: clock
        )
    }

    func undoing<Result>(_ connection: PostgresConnection, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as PostgresError where error.meaning == .connectionLost {
            throw error
        } catch {
            // If this fails the connection is lost, and with it the transaction.
            try connection.script("ROLLBACK")
            throw error
        }
    }

    /// The answer to a commit was lost: asks another connection what became of the transaction.
    ///
    /// - Throws: ``SQLError`` `.outcomeUnknown` if that cannot be known.
    private func wasCommitted(_ id: String, of incarnation: String, _ error: PostgresError) throws -> Bool {
        let deadline = ContinuousClock.now + settings.patience
        var asked: PostgresConnection?
        while ContinuousClock.now < deadline {
            usleep(20_000)
            guard let connection = asked ?? (try? connect()) else { continue }
            // Only in one of the server's lives does an id mean one transaction.
            guard !incarnation.isEmpty, connection.incarnation == incarnation else { break }
            switch try? connection.script("SELECT coalesce(pg_xact_status('\(id)'::xid8), 'unknown')") {
            case "committed": return true
            case "aborted": return false
            // As where a commit waits for a standby.
            case "in progress": asked = connection
            case nil: asked = nil
            default: throw SQLError.outcomeUnknown(error.message)
            }
        }
        throw SQLError.outcomeUnknown(error.message)
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
