import Foundation
import GRDB

@testable import SQLStore

/// A real SQLite database in a file of its own, on the caller's thread: a transaction is one step. Attached to it is the
/// database of the witness, which remembers what clients were told and which objects there are, so that questions about
/// both are asked in SQL.
final class SimulatedSQLite {
    private let folder: URL
    /// One that checks foreign keys and one that does not: to switch over would have every statement prepared again.
    private var queues: [DatabaseQueue]
    private var current = 0
    private var queue: DatabaseQueue { queues[current] }

    /// SQLite counts the memory that it uses under a lock that all threads share, unless it is told not to before its first use.
    private static let isUncounted: Bool = {
        typealias Configure = @convention(c) (CInt, CInt) -> CInt
        guard let symbol = dlsym(dlopen(nil, RTLD_LAZY), "sqlite3_config") else { return false }
        return unsafeBitCast(symbol, to: Configure.self)(9, 0) == 0  // SQLITE_CONFIG_MEMSTATUS
    }()

    init() throws {
        // Which makes a run of two threads faster by half. Without it nothing is different but that.
        _ = Self.isUncounted
        let shared = URL(fileURLWithPath: "/dev/shm")
        let memory = FileManager.default.isWritableFile(atPath: shared.path) ? shared : nil
        folder = (memory ?? FileManager.default.temporaryDirectory).appendingPathComponent("strata-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let folder = folder
        queues = try (0..<2).map { try Self.open(folder, $0) }
    }

    deinit {
        for queue in queues { try? queue.close() }
        try? FileManager.default.removeItem(at: folder)
    }

    private static func open(_ folder: URL, _ index: Int) throws -> DatabaseQueue {
        var configuration = GRDB.Configuration()
        configuration.foreignKeysEnabled = index == 0
        let witness = folder.appendingPathComponent("witness\(index).sqlite").path
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY")
            try db.execute(sql: "PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY")
            try db.execute(sql: "ATTACH '\(witness)' AS witness; PRAGMA witness.journal_mode = OFF")
            try db.execute(sql: "PRAGMA witness.synchronous = OFF")
            try db.execute(sql: Witness.schema)
        }
        return try DatabaseQueue(
            path: folder.appendingPathComponent("metadata\(index).sqlite").path,
            configuration: configuration
        )
    }

    /// What is left of a process that ends: the file.
    func reopen() throws {
        try queue.close()
        queues[current] = try Self.open(folder, current)
    }

    /// An empty database.
    ///
    /// - Parameter keepsForeignKeys: whether SQLite checks them. The protocol must not need them.
    func reset(keepsForeignKeys: Bool) throws {
        current = keepsForeignKeys ? 0 : 1
        for schema in ["main", "witness"] {
            // Tables that refer to others were made after them.
            let tables = try rows(
                Query(schema: "SELECT name FROM \(schema).sqlite_master WHERE type = 'table' ORDER BY rowid DESC"),
                now: 0
            )
            for table in tables where table.text(0) != "schema_migration" {
                try rows(Query(schema: "DELETE FROM \(schema).\(table.text(0))"), now: 0)
            }
        }
    }

    /// Rows that were changed since the connection was opened.
    var changes: Int { queue.unsafeReentrantWrite { $0.totalChangesCount } }

    @discardableResult
    func rows(_ query: Query, now: Int64) throws -> [SQLRow] {
        try queue.unsafeReentrantWrite { try SQLiteTransaction(db: $0, now: now).run(query) }
    }

    /// A transaction, undone if `body` throws.
    func transaction<Result>(now: Int64, _ body: (SQLiteTransaction) throws -> Result) throws -> Result {
        try queue.unsafeReentrantWrite { db in
            let transaction = SQLiteTransaction(db: db, now: now)
            try transaction.run("BEGIN IMMEDIATE")
            do {
                let result = try body(transaction)
                try transaction.run("COMMIT")
                return result
            } catch {
                if db.isInsideTransaction { try transaction.run("ROLLBACK") }
                throw (error as? DatabaseError).map { SQLError($0) } ?? error
            }
        }
    }
}
