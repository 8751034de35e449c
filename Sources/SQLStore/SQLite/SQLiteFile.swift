import Foundation
import GRDB

/// One connection to a database file as it is: for copies, and for making them.
package final class SQLiteFile: SQLDatabase {
    package let dialect = SQLDialect.sqlite
    private let connection: DatabaseQueue

    /// Opens a file that exists.
    ///
    /// - Parameter readonly: whether only ``read(_:)``, ``snapshot(_:)`` and ``copy(to:)`` are used.
    package init(path: String, readonly: Bool) throws {
        guard FileManager.default.fileExists(atPath: path) else {
            throw SQLError.failed("there is no database \(path)")
        }
        var configuration = GRDB.Configuration()
        configuration.readonly = readonly
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            if !readonly { try db.execute(sql: "PRAGMA synchronous = FULL") }
        }
        connection = try Self.translatingErrors { try DatabaseQueue(path: path, configuration: configuration) }
    }

    /// Writes the whole database, as one reader sees it, to a file that does not exist yet. Others may read and write
    /// meanwhile; the log of what they write is not folded back until this ends. Nothing is synced.
    package func copy(to path: String) async throws {
        try await Self.translatingErrors {
            try await connection.writeWithoutTransaction { db in
                try db.execute(sql: "VACUUM INTO ?", arguments: [path])
            }
        }
    }

    @discardableResult
    package func write<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await Self.translatingErrors {
            try await connection.write { db in try body(SQLiteTransaction(db: db, now: Self.now())) }
        }
    }

    package func read<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await Self.translatingErrors {
            try await connection.read { db in try body(SQLiteTransaction(db: db, now: Self.now())) }
        }
    }

    package func snapshot<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        try await read(body)
    }

    package func inspect() async throws -> DatabaseFacts { try await read { try DatabaseFacts(sqlite: $0) } }

    /// Ends the connection: nothing else is in files beside the database's any more.
    package func close() throws { try Self.translatingErrors { try connection.close() } }

    private static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    private static func translatingErrors<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as DatabaseError {
            throw SQLError(error)
        }
    }

    private static func translatingErrors<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let error as DatabaseError {
            throw SQLError(error)
        }
    }
}
