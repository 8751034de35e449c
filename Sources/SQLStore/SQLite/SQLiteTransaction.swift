import GRDB
import GRDBSQLite

/// Runs queries on a connection of GRDB's. Statements are prepared and kept by GRDB; binding, stepping and reading go to
/// SQLite itself, since on the hottest path of the registry GRDB's rows and arguments cost more than the query.
struct SQLiteTransaction: SQLTransaction {
    let db: Database
    let now: Int64

    @discardableResult
    func run(_ query: Query) throws -> [SQLRow] {
        var rows: [SQLRow] = []
        try forEachRow(of: query) { statement in
            rows.append(SQLRow((0..<sqlite3_column_count(statement)).map { SQLValue(statement, $0) }))
        }
        return rows
    }

    /// There is no way to save: it runs at once.
    @discardableResult
    func start(_ query: Query) throws -> StartedQuery { .answered(try run(query)) }

    func rows(of query: StartedQuery) throws -> [SQLRow] {
        guard case .answered(let rows) = query else { throw SQLError.failed("a query of another engine") }
        return rows
    }

    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String) {
        var (count, joined): (Int, [UInt8]) = (0, [])
        try forEachRow(of: query) { statement in
            if count > 0 { joined.append(contentsOf: separator.utf8) }
            let start = sqlite3_column_text(statement, 0)
            joined.append(contentsOf: UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, 0))))
            count += 1
        }
        return (count, String(decoding: joined, as: UTF8.self))
    }

    private func forEachRow(of query: Query, _ body: (SQLiteStatement) -> Void) throws {
        let (sql, values) = query.expanded
        let statement = try db.cachedStatement(sql: sql).sqliteStatement
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            try check(value.bind(to: statement, at: CInt(index + 1)), sql)
        }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: body(statement)
            case SQLITE_DONE: return
            case let code: try check(code, sql)
            }
        }
    }

    private func check(_ code: CInt, _ sql: String) throws {
        guard code != SQLITE_OK else { return }
        let code = db.sqliteConnection.map { sqlite3_extended_errcode($0) } ?? code
        let message = db.sqliteConnection.map { String(cString: sqlite3_errmsg($0)) }
        throw DatabaseError(resultCode: ResultCode(rawValue: code), message: message, sql: sql)
    }

    var changes: Int { db.changesCount }
}

extension SQLValue {
    fileprivate func bind(to statement: SQLiteStatement, at index: CInt) -> CInt {
        // SQLite copies what it is given with this in place of a destructor.
        let copies = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        switch self {
        case .null: return sqlite3_bind_null(statement, index)
        case .integer(let value): return sqlite3_bind_int64(statement, index, value)
        case .text(let value):
            return sqlite3_bind_text(statement, index, value, CInt(value.utf8.count), copies)
        case .bytes(let value):
            guard !value.isEmpty else { return sqlite3_bind_zeroblob(statement, index, 0) }
            return value.withUnsafeBytes {
                sqlite3_bind_blob(statement, index, $0.baseAddress, CInt($0.count), copies)
            }
        }
    }

    fileprivate init(_ statement: SQLiteStatement, _ column: CInt) {
        switch sqlite3_column_type(statement, column) {
        case SQLITE_INTEGER: self = .integer(sqlite3_column_int64(statement, column))
        case SQLITE_FLOAT: self = .integer(Int64(sqlite3_column_double(statement, column)))
        case SQLITE_TEXT:
            let start = sqlite3_column_text(statement, column)
            let text = UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column)))
            self = .text(String(decoding: text, as: UTF8.self))
        case SQLITE_BLOB:
            let start = sqlite3_column_blob(statement, column)
            let count = Int(sqlite3_column_bytes(statement, column))
            self = .bytes([UInt8](UnsafeRawBufferPointer(start: start, count: count)))
        default: self = .null(nil)
        }
    }
}
