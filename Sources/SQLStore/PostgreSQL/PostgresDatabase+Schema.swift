import Glibc
import Logging

/// Changes of tables that are in use. Nobody waits for them for longer than ``Limits/lockWait``.
extension PostgresDatabase {
    private enum Limits {
        /// How long a change waits for a table, because whoever comes next waits behind it.
        static let lockWait = "200ms"
        /// Pauses between two tries, the first and the longest.
        static let pauses = (Duration.milliseconds(200), Duration.seconds(2))
        /// How long one change is tried: longer than what is read or written in one transaction. Then the start fails, and
        /// the next one goes on from there.
        static let patience = Duration.seconds(3600)
    }

    /// Also keeps a slow server from ending the transaction that makes a whole schema.
    static let schemaLock: Query = """
        SELECT pg_try_advisory_xact_lock(8319104478211829), to_regclass('schema_migration') IS NOT NULL,
            set_config('statement_timeout', '0', true)
        """

    /// The lock is that of a transaction, so that it works through a pooler, too, and ends with its process. CREATE INDEX
    /// CONCURRENTLY waits for every snapshot that is older than itself, also for that of a statement which waits for a
    /// lock: so the lock is asked for and never waited for, and its transaction is idle meanwhile.
    package func change(
        _ changes: [TableChange],
        ifDue isDue: @escaping @Sendable (any SQLTransaction) throws -> Bool,
        then completion: @escaping @Sendable (any SQLTransaction) throws -> Void
    ) async throws -> SchemaOutcome {
        try await perform { lock, _ in
            lock.patience = nil
            defer { lock.patience = self.settings.answer }
            try lock.script("BEGIN ISOLATION LEVEL READ COMMITTED; \(Self.unlimited(local: true))")
            return try self.undoing(lock) {
                let db = try PostgresTransaction(lock, isExplicit: false)
                let isOurs = try db.run(Self.schemaLock).first?.int(0) == 1
                let isDue = try isOurs && isDue(db)
                if isDue {
                    let changer = try self.connect(setup: Self.unlimited(local: false))
                    changer.patience = nil
                    for change in changes { try self.make(change, on: changer, whileHeld: lock) }
                    try self.patiently("a new table", whileHeld: lock) { try Self.complete(lock, completion) }
                }
                try lock.script("COMMIT")
                return isDue ? .made : isOurs ? .notDue : .busy
            }
        }
    }

    /// A build takes as long as it takes, and the lock is idle for as long.
    private static func unlimited(local: Bool) -> String {
        """
        SELECT set_config(name, '0', \(local)) FROM pg_settings WHERE name IN
            ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
        """
    }

    /// New tables lock those that they refer to.
    private static func complete(_ lock: PostgresConnection, _ completion: (any SQLTransaction) throws -> Void) throws
        -> Bool
    {
        try lock.script("SAVEPOINT completion; SET LOCAL lock_timeout = '\(Limits.lockWait)'")
        do {
            try completion(PostgresTransaction(lock, isExplicit: false))
            return true
        } catch let error as PostgresError where error.meaning == .transient {
            try lock.script("ROLLBACK TO completion")
            throw error
        }
    }

    private func make(_ change: TableChange, on changer: PostgresConnection, whileHeld lock: PostgresConnection) throws
    {
        switch change {
        case .column(let name, let table, let type):
            try patiently("the table \(table)", whileHeld: lock) {
                // Not even asked for where it is there: to find that out, ALTER TABLE would lock the table.
                guard try !changer.hasColumn(name, of: table) else { return true }
                try changer.script(
                    """
                    SET LOCAL lock_timeout = '\(Limits.lockWait)';
                    ALTER TABLE \(table) ADD COLUMN IF NOT EXISTS \(name) \(type)
                    """
                )
                return true
            }
        case .index(let name, let table, let columns):
            try patiently("the index \(name)", whileHeld: lock) {
                try build(name, "\(table) \(columns)", on: changer)
            }
        }
    }

    /// One step. What a process left that died is an index that is not valid, or one that is being built still: its server
    /// process notices nothing until it is done, and is not waited for here, since it would wait for us in turn.
    ///
    /// - Returns: whether the index was there.
    private func build(_ name: String, _ place: String, on changer: PostgresConnection) throws -> Bool {
        switch try changer.isValid(index: name) {
        case true?: return true
        case false?:
            if settings.setsLimits { try changer.script("SET lock_timeout = '\(Limits.lockWait)'") }
            try changer.script("DROP INDEX CONCURRENTLY IF EXISTS \(name)")
        case nil:
            if settings.setsLimits { try changer.script("SET lock_timeout = 0") }
            logger.notice("an index is built", metadata: ["index": "\(name)"])
            do {
                try changer.script("CREATE INDEX CONCURRENTLY IF NOT EXISTS \(name) ON \(place)")
            } catch let error as PostgresError where error.meaning == .overloaded {
                throw SQLError.failed(
                    "the index \(name) could not be built (\(error.message)); where the limits are the role's, run "
                        + "'strata migrate' with postgres.set-limits=true, past any pooler in transaction mode"
                )
            }
        }
        return false
    }

    /// - Parameters:
    ///   - subject: what is waited for.
    ///   - lock: whoever has lost it must not go on.
    ///   - body: run until it says that it is done.
    private func patiently(
        _ subject: String,
        whileHeld lock: PostgresConnection,
        _ body: () throws -> Bool
    ) throws {
        let deadline = ContinuousClock.now + Limits.patience
        var pause = Limits.pauses.0
        while true {
            try lock.script("SELECT 1")
            do {
                if try body() { return }
                continue
            } catch let error as PostgresError where error.meaning == .transient && ContinuousClock.now < deadline {
                logger.info("the schema's change waits", metadata: ["for": "\(subject)", "reason": "\(error.message)"])
            }
            Self.sleep(pause)
            pause = min(pause * 2, Limits.pauses.1)
        }
    }
}

extension PostgresConnection {
    fileprivate func hasColumn(_ name: String, of table: String) throws -> Bool {
        try script(
            """
            SELECT EXISTS (SELECT 1 FROM pg_attribute
                WHERE attrelid = to_regclass('\(table)') AND attname = '\(name)' AND NOT attisdropped)
            """
        ) == "t"
    }

    /// Nil if there is no such index.
    fileprivate func isValid(index name: String) throws -> Bool? {
        let answer = try script(
            """
            SELECT coalesce(
                (SELECT indisvalid::text FROM pg_index WHERE indexrelid = to_regclass('\(name)')), 'missing')
            """
        )
        return answer == "missing" ? nil : answer == "true"
    }
}
