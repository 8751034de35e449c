import Metadata
import SQLStore
import Testing

@Suite("A query's lists and rows")
struct QueryTests {
    private static let ids = (0..<5).map { [UInt8(0xff), 0, UInt8($0)] }

    /// Two rows with nulls and one with empty values.
    private func fill(_ db: any SQLTransaction) throws {
        let empty: [UInt8] = []
        try db.run(
            """
            INSERT INTO upload_session (id, repository, received, hash_state, skey, expires_at)
            VALUES \(rows: [
                [Self.ids[0].sqlValue, "a".sqlValue, Int64.min.sqlValue, empty.sqlValue, .null(.bytes), Int64(1).sqlValue],
                [Self.ids[1].sqlValue, "ü'\\\"{}".sqlValue, Int64.max.sqlValue, empty.sqlValue, [1, 0].sqlValue, Int64(2).sqlValue],
                [Self.ids[2].sqlValue, "".sqlValue, Int64(-1).sqlValue, empty.sqlValue, .null(.bytes), Int64(3).sqlValue],
            ])
            """
        )
    }

    @Test("keep every value as it is, also none", arguments: Engine.available)
    func values(_ engine: Engine) async throws {
        try await engine.withStore { _, database in
            let rows = try await database.write { db in
                try fill(db)
                return try db.run(
                    "SELECT id, repository, received, hash_state, skey FROM upload_session ORDER BY expires_at"
                )
            }
            #expect(rows.map { $0.bytes(0) } == Array(Self.ids.prefix(3)))
            #expect(rows.map { $0.text(1) } == ["a", "ü'\\\"{}", ""])
            #expect(rows.map { $0.int(2) } == [.min, .max, -1])
            #expect(rows.map { $0.bytes(3) } == [[], [], []])
            #expect(rows.map { $0.optionalBytes(4) } == [nil, [1, 0], nil])
        }
    }

    @Test("find what is in them, whatever its type and however many there are", arguments: Engine.available)
    func lists(_ engine: Engine) async throws {
        try await engine.withStore { _, database in
            let many = (0..<300).map { [UInt8($0 / 256), UInt8($0 % 256)] } + Self.ids
            let found = try await database.write { db in
                try fill(db)
                let none: [Int64] = []
                return [
                    try db.run("SELECT id FROM upload_session WHERE id IN \(list: many)"),
                    try db.inBatches(many) { "SELECT id FROM upload_session WHERE id IN \(list: $0)" },
                    try db.run("SELECT id FROM upload_session WHERE repository IN \(list: ["", "ü'\\\"{}", "b"])"),
                    try db.run(
                        "SELECT id FROM upload_session WHERE received IN \(list: [Int64.max, 4]) AND expires_at > \(Int64(1))"
                    ),
                    try db.run("SELECT id FROM upload_session WHERE received IN \(list: none)"),
                ].map(\.count)
            }
            #expect(found == [3, 3, 2, 1, 0])
        }
    }
}
