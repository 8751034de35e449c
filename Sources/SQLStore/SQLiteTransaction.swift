import Foundation
import GRDB

struct SQLiteTransaction: SQLTransaction {
    let db: Database
    let now: Int64

    func run(_ query: Query) throws -> [SQLRow] {
        let statement = try db.cachedStatement(sql: query.sql)
        try statement.setArguments(StatementArguments(query.values.map(\.databaseValue)))
        let rows = try Row.fetchCursor(statement)
        var result: [SQLRow] = []
        while let row = try rows.next() {
            result.append(SQLRow((0..<row.count).map { SQLValue(row, $0) }))
        }
        return result
    }

    var changes: Int { db.changesCount }
}

extension SQLValue {
    fileprivate var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .bytes(let value): Data(value).databaseValue
        }
    }

    fileprivate init(_ row: Row, _ column: Int) {
        let value: DatabaseValue = row[column]
        switch value.storage {
        case .null: self = .null
        case .int64(let value): self = .integer(value)
        case .double(let value): self = .integer(Int64(value))
        case .string(let value): self = .text(value)
        case .blob(let value): self = .bytes([UInt8](value))
        }
    }
}
