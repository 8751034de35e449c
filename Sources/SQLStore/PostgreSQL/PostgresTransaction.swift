import CPostgreSQL

/// Runs queries on a connection that nobody else uses meanwhile. Those that were started are sent with the next one that is
/// run, and `BEGIN` with the first.
final class PostgresTransaction: SQLTransaction {
    private let connection: PostgresConnection
    let now: Int64
    private(set) var changes = 0
    var bindsLists: Bool { true }
    /// The transaction's id, with which its outcome can be asked for later; nil before anything was run in it.
    private(set) var id: String?
    private let isExplicit: Bool
    private var waiting: [(number: Int, query: Query)] = []
    private var answers: [Int: [SQLRow]] = [:]
    private var started = 0

    /// Most queries that wait: more are sent, so that memory has a bound.
    private static let maximumWaiting = 32

    /// - Parameter isExplicit: whether it is a transaction of its own, to be ended with ``commit()``.
    init(_ connection: PostgresConnection, isExplicit: Bool) throws {
        self.connection = connection
        self.isExplicit = isExplicit
        now = try connection.now
    }

    @discardableResult
    func run(_ query: Query) throws -> [SQLRow] {
        var rows: [SQLRow] = []
        try send(query) { result in
            changes = PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0
            rows = try Self.rows(of: result)
        }
        return rows
    }

    @discardableResult
    func start(_ query: Query) throws -> StartedQuery {
        if waiting.count >= Self.maximumWaiting { try send(nil) { _ in } }
        started += 1
        waiting.append((started, query))
        return .pending(started)
    }

    func rows(of query: StartedQuery) throws -> [SQLRow] {
        guard case .pending(let number) = query else { throw SQLError.failed("a query of another engine") }
        if waiting.contains(where: { $0.number == number }) { try send(nil) { _ in } }
        return answers.removeValue(forKey: number) ?? []
    }

    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String) {
        var (count, joined): (Int, [UInt8]) = (0, [])
        try send(query) { result in
            count = Int(PQntuples(result))
            for row in 0..<PQntuples(result) {
                if row > 0 { joined.append(contentsOf: separator.utf8) }
                let length = Int(PQgetlength(result, row, 0))
                joined.append(contentsOf: UnsafeRawBufferPointer(start: PQgetvalue(result, row, 0), count: length))
            }
        }
        return (count, String(decoding: joined, as: UTF8.self))
    }

    /// Ends the transaction, after everything that was started.
    func commit() throws {
        // Whoever loses the answer to a commit must know the transaction's id.
        if id == nil, !waiting.isEmpty { try send(nil) { _ in } }
        guard id != nil else { return }
        var status = ""
        try send("COMMIT") { status = PQcmdStatus($0).map { String(cString: $0) } ?? "" }
        // The server answers ROLLBACK if an error was swallowed inside.
        guard status == "COMMIT" else { throw SQLError.failed("the commit was refused") }
    }

    /// Sends what waits and, behind it, one more.
    private func send(_ last: Query?, _ body: (OpaquePointer) throws -> Void) throws {
        let begins = isExplicit && id == nil
        let sent = waiting
        waiting = []
        let queries =
            (begins ? [PostgresConnection.begin, Self.identification] : []) + sent.map(\.query)
            + (last.map { [$0] } ?? [])
        let first = begins ? 2 : 0
        let sentAt = ServerClock.uptime
        try connection.run(queries) { index, result in
            if index < first {
                if index == 1 { try identify(try Self.rows(of: result), sentAt: sentAt) }
            } else if index - first < sent.count {
                let rows = try Self.rows(of: result)
                if !rows.isEmpty { answers[sent[index - first].number] = rows }
            } else {
                try body(result)
            }
        }
    }

    private static let identification: Query =
        "SELECT pg_current_xact_id()::text, \(word: PostgresConnection.time)"

    /// - Parameter sentAt: when it was asked for: the answer may have waited behind locks.
    private func identify(_ rows: [SQLRow], sentAt: Int64) throws {
        guard let row = rows.first else { throw PostgresError(state: "XX000", message: "a transaction without an id") }
        id = row.text(0)
        connection.clock.heard(row.int(1), askedAt: sentAt)
        guard abs(row.int(1) / 1000 - now) <= Self.longestStandstill else { throw PostgresError.stoodStill }
    }

    /// Milliseconds by which ``now`` may differ from when the transaction began: promises count from the one. Longer than any
    /// answer is waited for, behind a pooler that is busy perhaps.
    private static let longestStandstill: Int64 = 60_000

    private static func rows(of result: OpaquePointer) throws -> [SQLRow] {
        let columns = PQnfields(result)
        return try (0..<PQntuples(result)).map { row in
            SQLRow(try (0..<columns).map { try SQLValue(result, row, $0) })
        }
    }
}
