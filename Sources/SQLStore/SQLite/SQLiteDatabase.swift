import Foundation
import GRDB
import NIOPosix
import Synchronization

/// SQLite in WAL mode: one writer that commits concurrent writes together, readers on snapshots beside it.
package final class SQLiteDatabase: SQLDatabase {
    /// What a commit survives.
    package enum Durability: Sendable {
        /// A power failure: every commit is synced.
        case full
        /// A crash of the process or the system's kernel is not covered: the last commits may be undone, never torn.
        case normal
    }

    /// What the writer tells, for metrics.
    package struct Observer: Sendable {
        package let queued: @Sendable (Int) -> Void
        package let committed: @Sendable (_ batchSize: Int) -> Void

        package init(queued: @escaping @Sendable (Int) -> Void, committed: @escaping @Sendable (Int) -> Void) {
            self.queued = queued
            self.committed = committed
        }
    }

    package let dialect = SQLDialect.sqlite

    private let writer: DatabaseQueue
    private let readers: SQLiteReaders
    private let threads: NIOThreadPool
    private let durability: Durability
    private let clock: @Sendable () -> Int64
    private let observer: Observer?
    private let pending = Mutex(Pending())

    private struct Pending {
        var writes: [any PendingWrite] = []
        var isDraining = false
    }

    /// Most writes in one transaction. Larger batches gain little and make the first of them wait.
    private static let maximumBatch = 64

    /// Opens the database file, creating it if it is missing. SQLite keeps `-wal` and `-shm` files beside it.
    ///
    /// - Parameters:
    ///   - readers: how many snapshots are read at the same time.
    ///   - clock: milliseconds since 1970 UTC.
    package init(
        path: String,
        durability: Durability = .full,
        readers: Int = 4,
        observer: Observer? = nil,
        clock: @escaping @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970 * 1000) }
    ) throws {
        var configuration = GRDB.Configuration()
        configuration.busyMode = .timeout(5)
        configuration.journalMode = .wal
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA synchronous = \(durability == .full ? "FULL" : "NORMAL")")
            // The log is folded back every 4,000 pages (16 MiB): rarer than the default, so pushes pay less for it.
            try db.execute(sql: "PRAGMA wal_autocheckpoint = 4000")
            try db.execute(sql: "PRAGMA cache_size = -16384")
        }
        writer = try DatabaseQueue(path: path, configuration: configuration)
        self.readers = SQLiteReaders(path: path, count: readers)
        threads = NIOThreadPool(numberOfThreads: readers)
        threads.start()
        self.durability = durability
        self.observer = observer
        self.clock = clock
    }

    deinit { threads.shutdownGracefully { _ in } }

    package func read<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        // Reads are short and the pages mostly in memory: running here costs less than the way to another thread.
        try readNow(body)
    }

    package func snapshot<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await threads.runIfActive { [self] in try readNow(body) }
    }

    private func readNow<Result>(_ body: (any SQLTransaction) throws -> Result) throws -> Result {
        do {
            return try readers.withReader { db in
                try body(SQLiteTransaction(db: db, now: clock()))
            }
        } catch let error as DatabaseError {
            throw SQLError(error)
        }
    }

    package func inspect() async throws -> DatabaseFacts {
        var facts = try await read { try DatabaseFacts(sqlite: $0) }
        if durability != .full { facts.lossySettings = ["durability = normal"] }
        return facts
    }

    @discardableResult
    package func write<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            let mustDrain = pending.withLock { state in
                state.writes.append(Write(body: body, continuation: continuation))
                observer?.queued(state.writes.count)
                defer { state.isDraining = true }
                return !state.isDraining
            }
            if mustDrain { writer.asyncWriteWithoutTransaction { [self] db in drain(db) } }
        }
    }

    private func drain(_ db: Database) {
        while true {
            let batch = pending.withLock { state in
                let batch = Array(state.writes.prefix(Self.maximumBatch))
                state.writes.removeFirst(batch.count)
                state.isDraining = !batch.isEmpty
                observer?.queued(state.writes.count)
                return batch
            }
            guard !batch.isEmpty else { return }
            commit(batch, db)
            observer?.committed(batch.count)
        }
    }

    /// One transaction for the whole batch, one savepoint for each write: a write that fails takes no other with it.
    private func commit(_ batch: [any PendingWrite], _ db: Database) {
        let transaction = SQLiteTransaction(db: db, now: clock())
        do {
            try transaction.run("BEGIN IMMEDIATE")
            do {
                for write in batch { try write.run(transaction, alone: batch.count == 1) }
                try transaction.run("COMMIT")
            } catch {
                // A full disk may have ended the transaction already. The first error says more than a second.
                if db.isInsideTransaction { _ = try? transaction.run("ROLLBACK") }
                throw error
            }
            for write in batch { write.finish(nil) }
        } catch let error as DatabaseError {
            for write in batch { write.finish(SQLError(error)) }
        } catch {
            for write in batch { write.finish(error) }
        }
    }
}

private protocol PendingWrite: Sendable {
    /// Keeps the outcome for ``finish(_:)``. Throws only what must undo the whole batch.
    func run(_ transaction: SQLiteTransaction, alone: Bool) throws
    func finish(_ failure: (any Error)?)
}

private final class Write<Result: Sendable>: PendingWrite {
    private let body: @Sendable (any SQLTransaction) throws -> Result
    private let continuation: CheckedContinuation<Result, any Error>
    private let outcome = Mutex<Swift.Result<Result, any Error>?>(nil)

    init(
        body: @escaping @Sendable (any SQLTransaction) throws -> Result,
        continuation: CheckedContinuation<Result, any Error>
    ) {
        self.body = body
        self.continuation = continuation
    }

    func run(_ transaction: SQLiteTransaction, alone: Bool) throws {
        if alone {  // the transaction itself undoes a failed write
            let result = try body(transaction)
            outcome.withLock { $0 = .success(result) }
            return
        }
        try transaction.run("SAVEPOINT write")
        do {
            let result = try body(transaction)
            try transaction.run("RELEASE write")
            outcome.withLock { $0 = .success(result) }
        } catch {
            // A full disk may have ended the transaction already; then nothing of the batch can be kept.
            guard transaction.db.isInsideTransaction else { throw error }
            try transaction.run("ROLLBACK TO write")
            try transaction.run("RELEASE write")
            let reported = (error as? DatabaseError).map { SQLError($0) } ?? error
            outcome.withLock { $0 = .failure(reported) }
        }
    }

    func finish(_ failure: (any Error)?) {
        if let failure {
            continuation.resume(throwing: failure)
        } else if let result = outcome.withLock({ $0 }) {
            continuation.resume(with: result)
        }
    }
}

extension SQLError {
    init(_ error: DatabaseError) {
        let reason = "\(error.extendedResultCode): \(error.message ?? "no message")"
        self = error.resultCode == .SQLITE_FULL ? .storageFull(reason) : .failed(reason)
    }
}

extension DatabaseFacts {
    init(sqlite db: any SQLTransaction) throws {
        let tables = try db.run("SELECT name FROM sqlite_master WHERE type = 'table'").map { $0.text(0) }
        let version = try db.run("SELECT sqlite_version()").first?.text(0) ?? ""
        self.init(version: "SQLite \(version)", tables: Set(tables))
    }
}
