/// A database that holds the registry's metadata. ``SQLiteDatabase`` is the embedded one.
package protocol SQLDatabase: Sendable {
    /// The words in which this engine's schema differs from the others'.
    var dialect: SQLDialect { get }

    /// Runs `body` so that its writes happen together or, if it throws, not at all. Returns only once they are durable.
    /// Concurrent writes may share one commit. `body` may run more than once and must change nothing but the database.
    ///
    /// - Throws: what `body` throws, or ``SQLError``.
    @discardableResult
    func write<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result

    /// Runs `body` on one consistent snapshot that includes every write that was acknowledged before.
    func read<Result: Sendable>(
        _ body: @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result
}

package protocol SQLTransaction {
    /// The database's clock, in milliseconds since 1970 UTC. The only clock that leases and dues are compared with.
    var now: Int64 { get }

    @discardableResult
    func run(_ query: Query) throws -> [SQLRow]

    /// The texts in the only column of a query's rows, joined: for long lists of names, where a row for each would cost
    /// several times as much.
    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String)

    /// Rows that the last INSERT, UPDATE or DELETE changed.
    var changes: Int { get }
}

/// The words in which engines spell a schema.
package struct SQLDialect: Sendable {
    /// A key that the engine counts up and never gives twice.
    package let identity: String
    package let bytes: String
    package let integer: String
    /// Text that is compared byte by byte, the order that the specification asks for in lists.
    package let text: String
    /// What stands behind a table's closing parenthesis.
    package let tableOptions: String
    /// The same for a table that is always read through its primary key and has narrow rows.
    package let clusteredTableOptions: String
}

/// Why the database failed. Never shown to clients.
package enum SQLError: Error, Sendable, CustomStringConvertible {
    /// The disk is full or the quota reached; nothing was written.
    case storageFull(String)
    case failed(String)

    package var description: String {
        switch self {
        case .storageFull(let reason): "the database's storage is full: \(reason)"
        case .failed(let reason): "the database failed: \(reason)"
        }
    }
}
