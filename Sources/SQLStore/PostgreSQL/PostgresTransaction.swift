import CPostgreSQL

/// Runs queries on a connection that nobody else uses meanwhile.
final class PostgresTransaction: SQLTransaction {
    private let connection: PostgresConnection
    let now: Int64
    private(set) var changes = 0

    init(_ connection: PostgresConnection) throws {
        self.connection = connection
        now = try connection.now
    }

    @discardableResult
    func run(_ query: Query) throws -> [SQLRow] {
        try connection.run(query) { result in
            changes = PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0
            let columns = PQnfields(result)
            return try (0..<PQntuples(result)).map { row in
                SQLRow(try (0..<columns).map { try SQLValue(result, row, $0) })
            }
        }
    }

    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String) {
        try connection.run(query) { result in
            let count = PQntuples(result)
            var joined: [UInt8] = []
            for row in 0..<count {
                if row > 0 { joined.append(contentsOf: separator.utf8) }
                let length = Int(PQgetlength(result, row, 0))
                joined.append(contentsOf: UnsafeRawBufferPointer(start: PQgetvalue(result, row, 0), count: length))
            }
            return (Int(count), String(decoding: joined, as: UTF8.self))
        }
    }
}
