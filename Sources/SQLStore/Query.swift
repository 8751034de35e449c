/// The kinds of value that SQL can store here.
package enum SQLKind: Hashable, Sendable {
    case integer, text, bytes
}

/// A value that SQL can store.
package enum SQLValue: Hashable, Sendable {
    /// Nothing, where a value of a kind might stand. PostgreSQL must know it to prepare a statement; a row does not.
    case null(SQLKind?)
    case integer(Int64)
    case text(String)
    case bytes([UInt8])
}

/// A type that may stand in a ``Query``. Spelled out type by type, so that nothing is bound as the wrong kind.
package protocol SQLBindable {
    static var sqlKind: SQLKind { get }
    var sqlValue: SQLValue { get }
}

extension Int64: SQLBindable {
    package static var sqlKind: SQLKind { .integer }
    package var sqlValue: SQLValue { .integer(self) }
}

extension String: SQLBindable {
    package static var sqlKind: SQLKind { .text }
    package var sqlValue: SQLValue { .text(self) }
}

extension [UInt8]: SQLBindable {
    package static var sqlKind: SQLKind { .bytes }
    package var sqlValue: SQLValue { .bytes(self) }
}

/// How a statement locks the rows that it finds. An engine with one writer at a time needs none of them.
/// Source: [PostgreSQL 15, 13.3.2 Row-Level Locks](https://www.postgresql.org/docs/15/explicit-locking.html).
package enum RowLock: String, Sendable {
    case keyShare = "FOR KEY SHARE"
    case noKeyUpdate = "FOR NO KEY UPDATE"
    case update = "FOR UPDATE"
    /// Finds only rows that nobody else has locked, and never waits.
    case updateUnlessLocked = "FOR UPDATE SKIP LOCKED"
}

/// One SQL statement and its bound values. Written as a string literal: an interpolated value becomes `$1`, `$2`, …
/// and is bound, never spliced, so a query cannot be injected into.
package struct Query: Sendable, ExpressibleByStringInterpolation {
    package let sql: String
    package let values: [SQLValue]

    init(sql: String, values: [SQLValue]) {
        (self.sql, self.values) = (sql, values)
    }

    package init(stringLiteral text: String) {
        sql = text
        values = []
    }

    package init(stringInterpolation parts: Interpolation) {
        sql = parts.sql
        values = parts.values
    }

    package struct Interpolation: StringInterpolationProtocol {
        fileprivate var sql = ""
        fileprivate var values: [SQLValue] = []

        package init(literalCapacity: Int, interpolationCount: Int) {
            sql.reserveCapacity(literalCapacity + 3 * interpolationCount)
            values.reserveCapacity(interpolationCount)
        }

        package mutating func appendLiteral(_ literal: String) { sql += literal }

        package mutating func appendInterpolation(_ value: some SQLBindable) { bind(value.sqlValue) }

        package mutating func appendInterpolation<Value: SQLBindable>(optional value: Value?) {
            bind(value?.sqlValue ?? .null(Value.sqlKind))
        }

        private mutating func bind(_ value: SQLValue) {
            values.append(value)
            sql += "$\(values.count)"
        }

        /// `IN \(list: digests)` becomes `IN ($1, $2, …)`. Padded with the last value to a power of two, so that the
        /// number of different statements that an engine prepares stays small. An empty list matches nothing.
        package mutating func appendInterpolation(list items: [some SQLBindable]) {
            guard let last = items.last else {
                sql += "(NULL)"
                return
            }
            var size = 1
            while size < items.count { size *= 2 }
            sql += "("
            for index in 0..<size {
                if index > 0 { sql += "," }
                appendInterpolation(index < items.count ? items[index] : last)
            }
            sql += ")"
        }

        /// `VALUES \(rows: rows)` becomes `VALUES ($1, $2), ($3, $4)`. See ``SQLTransaction/inBatches(_:_:)``.
        package mutating func appendInterpolation(rows: [[SQLValue]]) {
            for (index, row) in rows.enumerated() {
                sql += index == 0 ? "(" : ",("
                for (column, value) in row.enumerated() {
                    if column > 0 { sql += "," }
                    bind(value)
                }
                sql += ")"
            }
        }

        /// A word of an engine's own, from a ``SQLDialect``.
        package mutating func appendInterpolation(word: StaticString) { sql += "\(word)" }

        /// A locking clause. Written as a comment, which SQLite skips and the PostgreSQL driver opens.
        ///
        /// - Parameter table: the alias of the table whose rows are locked, where a query joins several.
        package mutating func appendInterpolation(lock: RowLock, of table: StaticString? = nil) {
            sql += "/*\(lock.rawValue)"
            if let table { sql += " OF \(table)" }
            sql += "*/"
        }
    }
}

/// One row of a result, by the position of its column, from 0.
package struct SQLRow: Sendable {
    private let columns: [SQLValue]

    package init(_ columns: [SQLValue]) { self.columns = columns }

    package func isNull(_ column: Int) -> Bool {
        if case .null = columns[column] { true } else { false }
    }

    /// The integer in a column. A column of another kind is a defect of the query beside it, so it traps.
    package func int(_ column: Int) -> Int64 {
        guard case .integer(let value) = columns[column] else { preconditionFailure("column \(column) is no integer") }
        return value
    }

    package func text(_ column: Int) -> String {
        guard case .text(let value) = columns[column] else { preconditionFailure("column \(column) is no text") }
        return value
    }

    package func bytes(_ column: Int) -> [UInt8] {
        guard case .bytes(let value) = columns[column] else { preconditionFailure("column \(column) is no bytes") }
        return value
    }

    package func optionalInt(_ column: Int) -> Int64? { isNull(column) ? nil : int(column) }
    package func optionalText(_ column: Int) -> String? { isNull(column) ? nil : text(column) }
    package func optionalBytes(_ column: Int) -> [UInt8]? { isNull(column) ? nil : bytes(column) }
}

extension Query {
    /// The question how an engine would run this query.
    package func explained(by dialect: SQLDialect) -> Query { Query(sql: dialect.explain + sql, values: values) }
}

extension Query {
    /// A statement that defines the schema, put together from a ``SQLDialect``'s words. Never from a request's.
    package init(schema text: String) {
        sql = text
        values = []
    }
}
