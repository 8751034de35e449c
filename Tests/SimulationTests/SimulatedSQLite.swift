import Foundation
import GRDB

@testable import SQLStore

/// A real SQLite database in a file of its own, on the caller's thread: a transaction is one step. Attached to it is the
/// database of the witness, which remembers what clients were told and which objects there are, so that questions about
/// both are asked in SQL.
final class SimulatedSQLite {
    private let folder: URL
    private var queue: DatabaseQueue
    private var keepsForeignKeys = true

    init() throws {
        let shared = URL(fileURLWithPath: "/dev/shm")
        let memory = FileManager.default.isWritableFile(atPath: shared.path) ? shared : nil
        folder = (memory ?? FileManager.default.temporaryDirectory).appendingPathComponent("strata-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        queue = try Self.open(folder)
    }

    deinit {
        try? queue.close()
        try? FileManager.default.removeItem(at: folder)
    }

    private static func open(_ folder: URL) throws -> DatabaseQueue {
        var configuration = GRDB.Configuration()
        let witness = folder.appendingPathComponent("witness.sqlite").path
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY")
            try db.execute(sql: "PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY")
            try db.execute(sql: "ATTACH '\(witness)' AS witness; PRAGMA witness.journal_mode = OFF")
            try db.execute(sql: "PRAGMA witness.synchronous = OFF")
        }
        return try DatabaseQueue(
            path: folder.appendingPathComponent("metadata.sqlite").path,
            configuration: configuration
        )
    }

    /// What is left of a process that ends: the file.
    func reopen() throws {
        try queue.close()
        queue = try Self.open(folder)
        try execute("PRAGMA foreign_keys = \(keepsForeignKeys ? "ON" : "OFF")")
    }

    /// An empty database.
    ///
    /// - Parameter keepsForeignKeys: whether SQLite checks them. The protocol must not need them.
    func reset(keepsForeignKeys: Bool) throws {
        self.keepsForeignKeys = keepsForeignKeys
        try execute("PRAGMA foreign_keys = OFF")
        let tables = try rows("SELECT name FROM main.sqlite_master WHERE type = 'table'", now: 0).map { $0.text(0) }
        for table in tables where !["schema_migration"].contains(table) { try execute("DELETE FROM main.\(table)") }
        try execute(Witness.schema)
        try execute("PRAGMA foreign_keys = \(keepsForeignKeys ? "ON" : "OFF")")
    }

    /// Rows that were changed since the connection was opened.
    var changes: Int { queue.unsafeReentrantWrite { $0.totalChangesCount } }

    func execute(_ sql: String) throws { try queue.unsafeReentrantWrite { try $0.execute(sql: sql) } }

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
