import CPostgreSQL

/// A query in the words of PostgreSQL, and its values in the protocol's binary form, all in one piece of memory. A list is
/// one value, an array, unless it is short, and so is each column of rows: the statement is the same for any number of them.
struct PostgresQuery {
    private(set) var sql = ""
    private(set) var types: [Oid] = []
    private var bytes: [UInt8] = []
    /// Where each value ends in the bytes, and whether it is null.
    private var ends: [(Int, isNull: Bool)] = []

    /// A plan for any array is made for ten values. One for fewer seems cheaper to the server, which then plans each time.
    /// Source: [PostgreSQL 15, estimate_array_length](https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/selfuncs.c).
    private static let shortList = 8

    init(_ query: Query) {
        for part in query.parts {
            switch part {
            case .words(let words): sql += words
            case .value(let value):
                bind(value)
                sql += "$\(types.count)"
            case .numbered(let words, let values):
                sql += words
                for value in values { bind(value) }
            case .list(_, let items) where (1...Self.shortList).contains(items.count):
                for (index, item) in Query.padded(items).enumerated() {
                    bind(item)
                    sql += index == 0 ? "IN ($\(types.count)" : ",$\(types.count)"
                }
                sql += ")"
            case .list(let kind, let items):
                bind(items, of: kind)
                sql += "= ANY ($\(types.count))"
            case .rows(let rows):
                sql += "SELECT * FROM unnest("
                for column in rows.first.map(\.indices) ?? 0..<0 {
                    let kind = rows.lazy.compactMap(\.[column].kind).first ?? .integer
                    bind(rows.lazy.map { $0[column] }, of: kind)
                    sql += column == 0 ? "$\(types.count)" : ",$\(types.count)"
                }
                sql += ")"
            }
        }
        bytes.append(0)  // so that an empty last value has an address, which tells it from null
    }

    func withParameters<Result>(
        _ body: (_ values: [UnsafePointer<CChar>?], _ lengths: [CInt], _ formats: [CInt]) throws -> Result
    ) rethrows -> Result {
        try bytes.withUnsafeBytes { memory in
            let memory = memory.assumingMemoryBound(to: CChar.self)
            var values: [UnsafePointer<CChar>?] = []
            var lengths: [CInt] = []
            var start = 0
            for (end, isNull) in ends {
                values.append(isNull ? nil : memory.baseAddress.map { $0 + start })
                lengths.append(CInt(end - start))
                start = end
            }
            return try body(values, lengths, Array(repeating: 1, count: ends.count))
        }
    }

    private mutating func bind(_ value: SQLValue) {
        append(value)
        ends.append((bytes.count, value.isNull))
        types.append(value.kind?.postgresType ?? 0)
    }

    /// Source: [PostgreSQL 15, array_send](https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/arrayfuncs.c).
    private mutating func bind(_ items: some Collection<SQLValue>, of kind: SQLKind) {
        append(Int32(items.isEmpty ? 0 : 1))  // dimensions
        append(Int32(items.contains { $0.isNull } ? 1 : 0))
        append(Int32(bitPattern: kind.postgresType))
        if !items.isEmpty {
            append(Int32(items.count))
            append(Int32(1))  // the first index
        }
        for item in items {
            append(item.isNull ? -1 : Int32(item.length))
            append(item)
        }
        ends.append((bytes.count, false))
        types.append(kind.postgresArrayType)
    }

    private mutating func append(_ number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func append(_ value: SQLValue) {
        switch value {
        case .null: break
        case .integer(let number): append(number)
        case .text(let text): bytes.append(contentsOf: text.utf8)
        case .bytes(let data): bytes.append(contentsOf: data)
        }
    }
}

extension SQLValue {
    fileprivate var isNull: Bool {
        if case .null = self { true } else { false }
    }

    /// Bytes in binary form.
    fileprivate var length: Int {
        switch self {
        case .null: 0
        case .integer: 8
        case .text(let text): text.utf8.count
        case .bytes(let data): data.count
        }
    }

    fileprivate var kind: SQLKind? {
        switch self {
        case .null(let kind): kind
        case .integer: .integer
        case .text: .text
        case .bytes: .bytes
        }
    }
}

/// The types of columns and values that the registry uses.
/// Source: [PostgreSQL 15, pg_type.dat](https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat).
private enum PostgresType {
    static let bool: Oid = 16
    static let bytea: Oid = 17
    static let name: Oid = 19
    static let int8: Oid = 20
    static let int2: Oid = 21
    static let int4: Oid = 23
    static let text: Oid = 25
    static let varchar: Oid = 1043
    static let arrayOfBytea: Oid = 1001
    static let arrayOfInt8: Oid = 1016
    static let arrayOfText: Oid = 1009
}

extension SQLKind {
    fileprivate var postgresType: Oid {
        switch self {
        case .integer: PostgresType.int8
        case .text: PostgresType.text
        case .bytes: PostgresType.bytea
        }
    }

    fileprivate var postgresArrayType: Oid {
        switch self {
        case .integer: PostgresType.arrayOfInt8
        case .text: PostgresType.arrayOfText
        case .bytes: PostgresType.arrayOfBytea
        }
    }
}

extension SQLValue {
    /// A column of a result in binary form.
    init(_ result: OpaquePointer, _ row: CInt, _ column: CInt) throws {
        guard PQgetisnull(result, row, column) == 0 else {
            self = .null(nil)
            return
        }
        let bytes = UnsafeRawBufferPointer(
            start: PQgetvalue(result, row, column),
            count: Int(PQgetlength(result, row, column))
        )
        switch PQftype(result, column) {
        case PostgresType.int8, PostgresType.int4, PostgresType.int2, PostgresType.bool:
            let isNegative = bytes.first.map { $0 & 0x80 != 0 } ?? false
            self = .integer(bytes.reduce(isNegative ? -1 : 0) { $0 << 8 | Int64($1) })
        case PostgresType.text, PostgresType.varchar, PostgresType.name:
            self = .text(String(decoding: bytes, as: UTF8.self))
        case PostgresType.bytea: self = .bytes([UInt8](bytes))
        case let type: throw PostgresError(state: "XX000", message: "column \(column) has the type \(type)")
        }
    }
}
