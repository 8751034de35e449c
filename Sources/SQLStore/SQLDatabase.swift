/// A database that holds the registry's metadata: ``SQLiteDatabase``, the embedded one, or ``PostgresDatabase``, which
/// many nodes share.
package protocol SQLDatabase: Sendable {
    /// The words in which this engine differs from the others.
    var dialect: SQLDialect { get }

    /// Runs `body` so that its writes happen together or, if it throws, not at all. Returns only once they are durable.
    /// Concurrent writes may share one commit. `body` may run more than once and must change nothing but the database.
    ///
    /// Each statement sees what was committed before it, so a row that must not change between two of them is locked.
    ///
    /// - Throws: what `body` throws, or ``SQLError``.
    @discardableResult
    func write<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result

    /// Runs `body`, whose statements see every write that was acknowledged before. Others may commit between two of them.
    func read<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result

    /// The same on one snapshot for all of `body`, which may take its time: for audits.
    func snapshot<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result

    /// Changes tables of a registry while other processes use them, and keeps none of them waiting for long. Made by one
    /// process at a time, and only in parts if it dies; whoever asks for the same again goes on from there.
    ///
    /// - Parameters:
    ///   - isDue: asked when no other process changes the schema, and none does until the end.
    ///   - completion: the rest, which happens in one transaction once all changes are made, or not at all.
    func change(
        _ changes: [TableChange],
        ifDue isDue: @escaping @Sendable (any SQLTransaction) throws -> Bool,
        then completion: @escaping @Sendable (any SQLTransaction) throws -> Void
    ) async throws -> SchemaOutcome

    /// Looks at the engine itself. Changes nothing.
    func inspect() async throws -> DatabaseFacts
}

package protocol SQLTransaction {
    /// The database's clock, in milliseconds since 1970 UTC. The only clock that leases and dues are compared with.
    var now: Int64 { get }

    @discardableResult
    func run(_ query: Query) throws -> [SQLRow]

    /// Begins a query whose rows are asked for later or not at all. A server at a distance is told of it together with the
    /// next query that is run, or with the commit: both cost one way there and back. Everything is run in the order of the
    /// program, and what it throws is thrown at the latest before the commit.
    @discardableResult
    func start(_ query: Query) throws -> StartedQuery

    /// The rows of a query that was started, to be asked for once.
    func rows(of query: StartedQuery) throws -> [SQLRow]

    /// The texts in the only column of a query's rows, joined: for long lists of names, where a row for each would cost
    /// several times as much.
    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String)

    /// Rows that the last INSERT, UPDATE or DELETE changed that was run, not only started.
    var changes: Int { get }

    /// Whether a list is one value however long it is, and so a statement the same for all lengths.
    var bindsLists: Bool { get }
}

/// Stands for the rows of a query until they are asked for.
package enum StartedQuery: Sendable {
    case answered([SQLRow])
    /// Its number within the transaction.
    case pending(Int)
}

extension SQLTransaction {
    package var bindsLists: Bool { false }

    /// Runs a query for many items at a time. Where each length makes another statement, batches are powers of two, so
    /// that few are prepared.
    ///
    /// - Returns: the rows of all batches.
    @discardableResult
    package func inBatches<Item>(_ items: [Item], _ query: ([Item]) -> Query) throws -> [SQLRow] {
        let queries = batches(of: items).map(query)
        guard let last = queries.last else { return [] }
        let started = try queries.dropLast().map { try start($0) }
        let rows = try run(last)
        return try started.flatMap { try self.rows(of: $0) } + rows
    }

    /// The same, only started.
    @discardableResult
    package func startInBatches<Item>(_ items: [Item], _ query: ([Item]) -> Query) throws -> [StartedQuery] {
        try batches(of: items).map { try start(query($0)) }
    }

    /// Items of a batch, which bounds the memory that it takes.
    private static var mostItems: Int { 256 }

    private func batches<Item>(of items: [Item]) -> [[Item]] {
        var batches: [[Item]] = []
        var start = 0
        while start < items.count {
            var size = Self.mostItems
            while !bindsLists, size > items.count - start { size /= 2 }
            size = min(size, items.count - start)
            batches.append(Array(items[start..<start + size]))
            start += size
        }
        return batches
    }
}

/// The words in which engines differ.
package struct SQLDialect: Sendable {
    /// A key that the engine counts up and never gives twice.
    package let identity: String
    /// What stands before VALUES where such a key is given all the same.
    package let givenIdentity: StaticString
    package let bytes: String
    package let integer: String
    /// Text that is compared byte by byte, the order that the specification asks for in lists.
    package let text: String
    /// What stands behind a table's closing parenthesis.
    package let tableOptions: String
    /// The same for a table that is always read through its primary key and has narrow rows.
    package let clusteredTableOptions: String
    /// Keeps other processes from changing the schema until the transaction ends, unless one has begun. Says with 1 or 0
    /// whether it does, and whether there is a table of migrations. Nil where there is one writer anyway.
    package let schemaLock: Query?
    /// Statements that keep others from writing to a table until the transaction ends.
    package let tableLock: @Sendable (StaticString) -> [Query]
    /// Statements that make the engine plan for large tables even while they are small, until the transaction ends.
    package let planSettings: [Query]
    /// What stands before a query to be told its plan.
    package let explain: String
    /// The column of such an answer with the plan's lines.
    package let planColumn: Int
    /// The word of a line that reads a whole table.
    package let scan: String
    /// The words of a line that says by which columns an index is searched.
    package let search: String
    /// Finds table, name and, in their order, the columns of each index. Where this is nil, a plan names the columns itself;
    /// elsewhere it may choose another index that does as well for the rows that there are.
    package let indexes: Query?
    /// Finds the server's line of history, which changes with a failover; nil where there can be none.
    package let epoch: Query?
    /// How long a transaction may keep those waiting that could share the next one; nil where they had to wait anyway.
    package let patience: Duration?
    /// Most rows that a transaction in the background changes. Where there is one writer, pushes wait for it.
    package let backgroundRows: Int
}

/// Why the database failed. Never shown to clients.
package enum SQLError: Error, Sendable, CustomStringConvertible {
    /// The disk is full or the quota reached; nothing was written.
    case storageFull(String)
    /// Nothing was written. It may work in a moment: the server cannot be reached or is overloaded.
    case unavailable(String)
    /// The connection broke in a commit and whether it happened cannot be known.
    case outcomeUnknown(String)
    /// Somebody else was quicker, as a body found out: it runs again.
    case conflict
    case failed(String)

    package var description: String {
        switch self {
        case .storageFull(let reason): "the database's storage is full: \(reason)"
        case .unavailable(let reason): "the database is not available: \(reason)"
        case .outcomeUnknown(let reason): "the outcome of a commit is unknown: \(reason)"
        case .conflict: "a concurrent change won every time"
        case .failed(let reason): "the database failed: \(reason)"
        }
    }
}
