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
    /// Finds only rows that nobody is about to delete or to change the key of, and never waits.
    case keyShareUnlessLocked = "FOR KEY SHARE SKIP LOCKED"
    case noKeyUpdate = "FOR NO KEY UPDATE"
    case update = "FOR UPDATE"
    /// Finds only rows that nobody else has locked, and never waits.
    case updateUnlessLocked = "FOR UPDATE SKIP LOCKED"
}

/// One SQL statement and its bound values. Written as a string literal: an interpolated value becomes `$1`, `$2`, …
/// and is bound, never spliced, so a query cannot be injected into.
package struct Query: Sendable, ExpressibleByStringInterpolation {
    /// What a statement is made of, in its order. Lists and rows are told apart from single values because engines bind
    /// them differently.
    enum Part: Sendable {
        case words(String)
        case value(SQLValue)
        /// The right side of a comparison with any of these.
        case list(SQLKind, [SQLValue])
        /// At least one row of as many columns each.
        case rows([[SQLValue]])
        /// Words with places for values, which are numbered already. It has no values besides these.
        case numbered(String, [SQLValue])
    }

    let parts: [Part]

    init(sql: String, values: [SQLValue]) { parts = [.numbered(sql, values)] }

    var sql: String { expanded.sql }
    var values: [SQLValue] { expanded.values }

    package init(stringLiteral text: String) { parts = [.words(text)] }

    package init(stringInterpolation interpolation: Interpolation) { parts = interpolation.parts }

    package struct Interpolation: StringInterpolationProtocol {
        fileprivate var parts: [Part] = []

        package init(literalCapacity: Int, interpolationCount: Int) {
            parts.reserveCapacity(2 * interpolationCount + 1)
        }

        package mutating func appendLiteral(_ literal: String) { parts.append(.words(literal)) }

        package mutating func appendInterpolation(_ value: some SQLBindable) { parts.append(.value(value.sqlValue)) }

        package mutating func appendInterpolation<Value: SQLBindable>(optional value: Value?) {
            parts.append(.value(value?.sqlValue ?? .null(Value.sqlKind)))
        }

        /// Written `IN \(list: digests)`. An empty list matches nothing.
        package mutating func appendInterpolation<Item: SQLBindable>(list items: [Item]) {
            takeBack("IN ")
            parts.append(.list(Item.sqlKind, items.map(\.sqlValue)))
        }

        /// Written `INSERT INTO … VALUES \(rows: rows)`. See ``SQLTransaction/inBatches(_:_:)``.
        package mutating func appendInterpolation(rows: [[SQLValue]]) {
            takeBack("VALUES ")
            parts.append(.rows(rows))
        }

        /// Removes the word that belongs to what follows.
        private mutating func takeBack(_ word: String) {
            guard case .words(let words) = parts.popLast(), words.hasSuffix(word) else {
                preconditionFailure("there is no \(word)in front of a list")
            }
            parts.append(.words(String(words.dropLast(word.count))))
        }

        /// A word of an engine's own, from a ``SQLDialect``.
        package mutating func appendInterpolation(word: StaticString) { parts.append(.words("\(word)")) }

        /// A locking clause. Written as a comment, which SQLite skips and the PostgreSQL driver opens.
        ///
        /// - Parameter table: the alias of the table whose rows are locked, where a query joins several.
        package mutating func appendInterpolation(lock: RowLock, of table: StaticString? = nil) {
            let of = table.map { " OF \($0)" } ?? ""
            parts.append(.words("/*\(lock.rawValue)\(of)*/"))
        }
    }
}

extension Query {
    /// The statement with a place for each single value. Lists are padded with their last value to a power of two, so
    /// that the number of different statements that an engine prepares stays small.
    var expanded: (sql: String, values: [SQLValue]) {
        var sql = ""
        var values: [SQLValue] = []
        func bind(_ value: SQLValue) {
            values.append(value)
            sql += "$\(values.count)"
        }
        func bind(_ some: [SQLValue]) {
            sql += "("
            for (index, value) in some.enumerated() {
                if index > 0 { sql += "," }
                bind(value)
            }
            sql += ")"
        }
        for part in parts {
            switch part {
            case .words(let words): sql += words
            case .value(let value): bind(value)
            case .numbered(let words, let numbered): (sql, values) = (sql + words, numbered)
            case .list(_, let items):
                sql += "IN "
                if items.isEmpty { sql += "(NULL)" } else { bind(Self.padded(items)) }
            case .rows(let rows):
                for (index, row) in rows.enumerated() {
                    sql += index == 0 ? "VALUES " : ","
                    bind(row)
                }
            }
        }
        return (sql, values)
    }

    static func padded(_ items: [SQLValue]) -> [SQLValue] {
        var size = 1
        while size < items.count { size *= 2 }
        return items + items.suffix(1).flatMap { Array(repeating: $0, count: size - items.count) }
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
    package func explained(by dialect: SQLDialect) -> Query { Query(parts: [.words(dialect.explain)] + parts) }

    private init(parts: [Part]) { self.parts = parts }
}

extension Query {
    /// A statement that defines the schema, put together from a ``SQLDialect``'s words. Never from a request's.
    package init(schema text: String) { parts = [.words(text)] }
}
