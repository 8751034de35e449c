import GRDB

@testable import SQLStore

/// The database as one process reaches it: each transaction takes a turn, may fail at any statement, may end the process
/// at any statement, and may happen although its answer is lost.
struct SimulatedDatabase: SQLDatabase {
    let process: SimulatedProcess

    var dialect: SQLDialect { .sqlite }

    func read<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        let world = try await process.step("read")
        if world.faults.hits() { throw SQLError.unavailable("simulated") }
        return try world.sql.transaction(now: world.scheduler.now) { try body($0) }
    }

    func snapshot<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        let world = process.world
        guard world.bug != nil else { return try await read(body) }
        return try await read { try body(RememberingTransaction(transaction: $0, world: world)) }
    }

    func inspect() async throws -> DatabaseFacts { try await read { try DatabaseFacts(sqlite: $0) } }

    @discardableResult
    func write<Result: Sendable>(
        _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
    ) async throws -> Result {
        let world = try await process.step("write")
        let fault = world.faults.ofWrite()
        let recorded = Recorded(now: world.scheduler.now)
        while true {
            do {
                let result = try world.sql.transaction(now: recorded.now) { transaction in
                    let db = RecordedTransaction(transaction, recorded, fault, world)
                    defer { if db.hasWritten { world.witness.isDue = true } }
                    return try body(db)
                }
                switch fault {
                case .lostAnswer: throw SQLError.outcomeUnknown("simulated")
                case .crashAfterwards: throw world.crash(process)
                default: return result
                }
            } catch is RecordedTransaction.Pause {
                recorded.whilePaused?()
                _ = try await process.step("write goes on", after: world.scheduler.chance.upTo(3 * 3_600_000))
            } catch is RecordedTransaction.Crash {
                throw world.crash(process)
            }
        }
    }
}

/// For seeded bugs that act on what was so when a plan was made.
private struct RememberingTransaction: SQLTransaction {
    let transaction: any SQLTransaction
    let world: World

    var now: Int64 { transaction.now }
    var changes: Int { transaction.changes }

    func run(_ query: Query) throws -> [SQLRow] {
        let rows = try transaction.run(world.bug?.misread(query) ?? query)
        world.answersOfPlan[query.key] = rows
        return rows
    }

    func start(_ query: Query) throws -> StartedQuery { .answered(try run(query)) }

    func rows(of query: StartedQuery) throws -> [SQLRow] { try transaction.rows(of: query) }

    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String) {
        try transaction.texts(query, joinedBy: separator)
    }
}

enum WriteFault {
    case none, lostAnswer, crashAfterwards
    /// Nothing happens.
    case fails(statement: Int), isFull(statement: Int), crashes(statement: Int)
}

/// The answers that a transaction has had so far. With them its body runs again up to where it paused.
final class Recorded {
    let now: Int64
    fileprivate var answers: [(rows: [SQLRow], changes: Int)] = []
    /// What a seeded bug remembers.
    var note: [SQLRow] = []
    /// What it does outside of the transaction.
    var whilePaused: (() -> Void)?

    init(now: Int64) { self.now = now }
}

/// Passes statements on, but for what faults and seeded bugs make of them.
final class RecordedTransaction: SQLTransaction {
    struct Pause: Error {}
    struct Crash: Error {}

    let now: Int64
    let recorded: Recorded
    let world: World
    private let transaction: SQLiteTransaction
    private let fault: WriteFault
    private var count = 0
    /// Whether something was written.
    private(set) var hasWritten = false
    private(set) var changes = 0

    init(_ transaction: SQLiteTransaction, _ recorded: Recorded, _ fault: WriteFault, _ world: World) {
        (self.transaction, self.recorded, self.fault, self.world) = (transaction, recorded, fault, world)
        now = recorded.now
    }

    func run(_ query: Query) throws -> [SQLRow] {
        count += 1
        if count <= recorded.answers.count {
            changes = recorded.answers[count - 1].changes
            return recorded.answers[count - 1].rows
        }
        switch fault {
        case .fails(count): throw SQLError.unavailable("simulated")
        case .isFull(count): throw SQLError.storageFull("simulated")
        case .crashes(count): throw Crash()
        default: break
        }
        // Written out once: bugs look at its words often.
        let query = Query(sql: query.sql, values: query.values)
        world.log("    \(query.sql.prefix(70).split(separator: "\n").joined(separator: " "))")
        let deed = world.bug?.deed(query, in: self) ?? .runs(query)
        switch deed {
        case .runs(let query): return try answer(query)
        case .answers(let rows, let changes):
            self.changes = changes
            recorded.answers.append((rows, changes))
            return rows
        case .pausesAfter(let query):
            let rows = try answer(query)
            // What was written cannot be seen by others yet, so there is nothing that they could do to it.
            if !hasWritten { throw Pause() }
            return rows
        }
    }

    /// Asks without being recorded.
    func ask(_ query: Query) -> [SQLRow] { (try? transaction.run(query)) ?? [] }

    private func answer(_ query: Query) throws -> [SQLRow] {
        let before = transaction.db.totalChangesCount
        let rows = try transaction.run(query)
        changes = transaction.changes
        if transaction.db.totalChangesCount > before { hasWritten = true }
        recorded.answers.append((rows, changes))
        return rows
    }

    func start(_ query: Query) throws -> StartedQuery { .answered(try run(query)) }

    func rows(of query: StartedQuery) throws -> [SQLRow] { try transaction.rows(of: query) }

    func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String) {
        let texts = try run(query).map { $0.text(0) }
        return (texts.count, texts.joined(separator: separator))
    }
}
