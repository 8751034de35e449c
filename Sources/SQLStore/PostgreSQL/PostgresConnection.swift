import CPostgreSQL
import Glibc

/// One connection to a PostgreSQL server, used by one thread at a time. Everything on it blocks, but not for longer than its
/// ``patience``.
final class PostgresConnection {
    private let handle: OpaquePointer
    private let preparesStatements: Bool
    private var prepared: [String: String] = [:]
    let clock: ServerClock
    /// How long an answer is waited for, before the connection is given up; nil for as long as it takes. A server ends most
    /// statements before, but not a commit that waits for a standby, and none while it stands still.
    var patience: Duration?
    /// What a transaction's id is good for: the server's line of history, which is another one after a failover, and the
    /// last time that it started without its statistics, which it drops in a crash. After either, an id of ours that had
    /// not reached the disk may have been given again, to a transaction that is not ours.
    private(set) var incarnation = ""

    /// Most statements kept prepared: the registry's are a few dozen, times the sizes of their lists.
    private static let maximumPrepared = 500

    /// What holds where the connection string says nothing. A server that vanishes without a word, as a dead machine
    /// does, is given up within 25 s; the system's own limits are a quarter of an hour and more.
    /// Source: [PostgreSQL 15, 34.1.2](https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-PARAMKEYWORDS).
    private static let defaults = [
        ("connect_timeout", "5"), ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
        ("tcp_user_timeout", "15000"),
    ]

    /// - Parameters:
    ///   - setup: run before anything else, such as time limits.
    ///   - preparesStatements: false behind a pooler that gives each transaction another server connection.
    ///   - patience: how long an answer is waited for.
    ///   - clock: is told of what the server says.
    /// - Throws: ``PostgresError``.
    init(
        _ conninfo: String,
        setup: String,
        preparesStatements: Bool,
        patience: Duration? = nil,
        clock: ServerClock
    ) throws {
        guard let handle = Self.connect(conninfo) else { throw PostgresError.connectionLost("out of memory") }
        self.handle = handle
        self.preparesStatements = preparesStatements
        (self.patience, self.clock) = (patience, clock)
        guard PQstatus(handle) == CONNECTION_OK else { throw PostgresError.connectionLost(lastMessage) }
        PQsetNoticeProcessor(handle, { _, _ in }, nil)
        do {
            if !setup.isEmpty { try script(setup) }
            try readClock()
            // Not from pg_control_checkpoint(), which changes only at the checkpoint after a promotion.
            incarnation = try script(
                """
                SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ' '
                    || pg_stat_get_bgwriter_stat_reset_time()
                """
            )
        } catch let error as PostgresError {
            // A standby, for one, cannot say where it writes. Whatever it is, this connection is of no use.
            throw PostgresError.connectionLost(error.message)
        }
    }

    /// Later words win, so the connection string, which stands last, overrides the defaults.
    private static func connect(_ conninfo: String) -> OpaquePointer? {
        // Of several servers the one that takes writes, wherever it stands: a primary that comes back after a failover is a standby.
        let choice = namesSeveralServers(conninfo) ? [("target_session_attrs", "read-write")] : []
        let words = (defaults + choice + [("dbname", conninfo)]).map { (strdup($0.0), strdup($0.1)) }
        defer { for text in words.flatMap({ [$0.0, $0.1] }) { free(text) } }
        let keywords = words.map { UnsafePointer($0.0) } + [nil]
        let values = words.map { UnsafePointer($0.1) } + [nil]
        return PQconnectdbParams(keywords, values, 1)
    }

    private static func namesSeveralServers(_ conninfo: String) -> Bool {
        guard let options = PQconninfoParse(conninfo, nil) else { return false }
        defer { PQconninfoFree(options) }
        var option = options
        while let keyword = option.pointee.keyword {
            let value = option.pointee.val.map { String(cString: $0) } ?? ""
            if ["host", "hostaddr"].contains(String(cString: keyword)), value.contains(",") { return true }
            option += 1
        }
        return false
    }

    deinit { PQfinish(handle) }

    private var lastMessage: String { Self.line(PQerrorMessage(handle)) }

    private func message(of result: OpaquePointer?) -> String { Self.line(PQresultErrorMessage(result)) }

    private static func line(_ text: UnsafeMutablePointer<CChar>?) -> String {
        let text = text.map { String(cString: $0) } ?? "no message"
        return String(text.split(separator: "\n").joined(separator: " "))
    }

    var version: Int { Int(PQserverVersion(handle)) }

    /// Whether others on a network can read what is sent: it leaves this machine, and is not encrypted.
    var isExposed: Bool {
        guard PQsslInUse(handle) == 0, PQgssEncInUse(handle) == 0 else { return false }
        let address = PQhostaddr(handle).map { String(cString: $0) } ?? ""  // empty for a socket in a folder
        return !address.isEmpty && !address.hasPrefix("127.") && address != "::1"
    }

    // MARK: - The clock

    /// Milliseconds since 1970 by the server's clock, which is asked at least once a minute.
    var now: Int64 {
        get throws {
            if let now = clock.now { return now }
            return try readClock()
        }
    }

    /// - Returns: milliseconds since 1970.
    @discardableResult
    private func readClock() throws -> Int64 {
        let askedAt = ServerClock.uptime
        let text = try script("SELECT \(Self.time)")
        guard let time = Int64(text) else { throw PostgresError(state: "XX000", message: "the clock says \(text)") }
        clock.heard(time, askedAt: askedAt)
        return time / 1000
    }

    /// What ``ServerClock/heard(_:askedAt:)`` takes.
    static let time: StaticString = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

    // MARK: - Statements

    /// Runs statements that take no values.
    ///
    /// - Returns: the first column of the last one's first row as text, or what it says of itself, such as `COMMIT`.
    @discardableResult
    func script(_ sql: String) throws -> String {
        let result = try answer(to: PQsendQuery(handle, sql))
        defer { PQclear(result) }
        if PQntuples(result) > 0, let text = PQgetvalue(result, 0, 0) { return String(cString: text) }
        return PQcmdStatus(result).map { String(cString: $0) } ?? ""
    }

    /// Runs queries one after the other, none after one that fails, for one way there and back.
    ///
    /// - Parameter body: gets the result of each in binary form, once all have run, and must not keep it.
    func run(_ queries: [Query], _ body: (Int, OpaquePointer) throws -> Void) throws {
        let queries = queries.map { PostgresQuery($0) }
        if prepared.count + queries.count > Self.maximumPrepared {
            try script("DEALLOCATE ALL")
            prepared.removeAll()
        }
        if queries.count == 1, let query = queries.first { return try runAlone(query) { try body(0, $0) } }
        guard PQenterPipelineMode(handle) == 1 else { throw PostgresError.connectionLost(lastMessage) }
        let steps = try sendAll(queries)
        var results: [OpaquePointer?] = []
        defer { for result in results { PQclear(result) } }
        for _ in steps {
            results.append(try nextResult())
            // Nothing comes between one result and the next; else the connection has broken.
            let more = PQgetResult(handle)
            PQclear(more)
            guard more == nil, PQstatus(handle) == CONNECTION_OK else { break }
        }
        if results.count == steps.count, PQstatus(handle) == CONNECTION_OK {
            let end = try nextResult()
            defer { PQclear(end) }
            guard PQresultStatus(end) == PGRES_PIPELINE_SYNC, PQexitPipelineMode(handle) == 1 else {
                throw PostgresError.connectionLost(lastMessage)
            }
        }
        var found: [OpaquePointer] = []
        for (step, result) in zip(steps, results) {
            let result = try success(result)
            switch step {
            case .preparation(let sql, let name): prepared[sql] = name
            case .query: found.append(result)
            }
        }
        guard found.count == queries.count else { throw PostgresError.connectionLost(lastMessage) }
        for (index, result) in found.enumerated() { try body(index, result) }
    }

    private func runAlone(_ query: PostgresQuery, _ body: (OpaquePointer) throws -> Void) throws {
        var name = prepared[query.sql]
        if name == nil, isPrepared(query) {
            let new = "s\(prepared.count)"
            let types = query.types
            let isSent = PQsendPrepare(handle, new, Self.text(of: query), CInt(types.count), types)
            PQclear(try answer(to: isSent))
            prepared[query.sql] = new
            name = new
        }
        let result = try answer(to: send(query, name))
        defer { PQclear(result) }
        try body(result)
    }

    /// - Parameter isSent: what libpq said when it took what is to be answered.
    /// - Returns: the last of the results, if it is one of success.
    private func answer(to isSent: CInt) throws -> OpaquePointer {
        guard isSent == 1 else { throw PostgresError.connectionLost(lastMessage) }
        var last: OpaquePointer?
        do {
            while let result = try nextResult() {
                PQclear(last)
                last = result
            }
            return try success(last)
        } catch {
            PQclear(last)
            throw error
        }
    }

    private func nextResult() throws -> OpaquePointer? {
        if let patience, PQisBusy(handle) == 1 { try waitForAnswer(patience) }
        return PQgetResult(handle)
    }

    private func waitForAnswer(_ patience: Duration) throws {
        let deadline = ContinuousClock.now + patience
        // What TLS has read already, no socket tells of.
        if PQsslInUse(handle) == 1 { PQconsumeInput(handle) }
        while PQisBusy(handle) == 1 {
            let rest = ContinuousClock.now.duration(to: deadline)
            var socket = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
            guard rest > .zero, poll(&socket, 1, CInt(rest.seconds * 1000) + 1) != 0 else {
                shutdown(socket.fd, CInt(SHUT_RDWR))
                throw PostgresError.connectionLost("it did not answer within \(patience)")
            }
            // If the connection broke, the result says so.
            guard PQconsumeInput(handle) == 1 else { return }
        }
    }

    /// What is sent in a pipeline, each with a result of its own.
    private enum Step {
        case preparation(sql: String, name: String)
        case query
    }

    /// Statements are prepared right before they are run: doing so takes locks, too.
    private func sendAll(_ queries: [PostgresQuery]) throws -> [Step] {
        var steps: [Step] = []
        var fresh: [String: String] = [:]
        for query in queries {
            var name = prepared[query.sql] ?? fresh[query.sql]
            if name == nil, isPrepared(query) {
                let new = "s\(prepared.count + fresh.count)"
                let types = query.types
                let isSent = PQsendPrepare(handle, new, Self.text(of: query), CInt(types.count), types)
                guard isSent == 1 else { throw PostgresError.connectionLost(lastMessage) }
                steps.append(.preparation(sql: query.sql, name: new))
                fresh[query.sql] = new
                name = new
            }
            guard send(query, name) == 1 else { throw PostgresError.connectionLost(lastMessage) }
            steps.append(.query)
        }
        guard PQpipelineSync(handle) == 1 else { throw PostgresError.connectionLost(lastMessage) }
        return steps
    }

    private func send(_ query: PostgresQuery, _ name: String?) -> CInt {
        query.withParameters { values, lengths, formats in
            let count = CInt(values.count)
            if let name { return PQsendQueryPrepared(handle, name, count, values, lengths, formats, 1) }
            return PQsendQueryParams(handle, Self.text(of: query), count, query.types, values, lengths, formats, 1)
        }
    }

    private func isPrepared(_ query: PostgresQuery) -> Bool {
        preparesStatements && !Self.unprepared.contains(query.sql)
    }

    /// They need no plan, and can be found in what is sent.
    private static let unprepared: Set = [beginning, "COMMIT"]

    /// Every statement is to see what was committed before it, whatever the server's default is: all locks rely on it.
    private static let beginning = "BEGIN ISOLATION LEVEL READ COMMITTED"
    static let begin = Query(schema: beginning)

    /// The query's text with its locking clauses, which other engines skip as comments.
    private static func text(of query: PostgresQuery) -> String {
        var text = ""
        var rest = query.sql[...]
        while let start = rest.firstRange(of: "/*FOR "), let end = rest[start.upperBound...].firstRange(of: "*/") {
            text += rest[..<start.lowerBound] + "FOR " + rest[start.upperBound..<end.lowerBound]
            rest = rest[end.upperBound...]
        }
        return text + rest
    }

    private func success(_ result: OpaquePointer?) throws -> OpaquePointer {
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK:
            if let result { return result }
            throw PostgresError.connectionLost(lastMessage)
        default:
            let state = PQresultErrorField(result, CInt(UInt8(ascii: "C"))).map { String(cString: $0) } ?? ""
            guard PQstatus(handle) == CONNECTION_OK else { throw PostgresError.connectionLost(lastMessage) }
            throw PostgresError(state: state, message: message(of: result))
        }
    }
}
