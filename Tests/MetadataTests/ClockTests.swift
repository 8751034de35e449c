import Logging
import Testing

@testable import SQLStore

@Suite("The database's clock")
struct ClockTests {
    @Test("never goes back from one transaction to the next, on any connection", arguments: Engine.available)
    func order(_ engine: Engine) async throws {
        try await engine.withStore { _, database in
            var last: Int64 = 0
            for _ in 1...20 {
                // At the same time, so that each has a connection of its own, which the next ones get in another order.
                let times = try await withThrowingTaskGroup(of: Int64.self) { group in
                    for _ in 1...8 { group.addTask { try await database.write { $0.now } } }
                    for _ in 1...8 { group.addTask { try await database.read { $0.now } } }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(try #require(times.min()) >= last)
                last = try #require(times.max())
            }
        }
    }

    @Test("is not that of a process which stood still before its transaction began", .enabled(if: Engine.server != nil))
    func standstill() async throws {
        let database = PostgresDatabase(try await Engine.makePostgresDatabase(), logger: Logger(label: "test"))
        try await database.write { try $0.run("CREATE TABLE made (at BIGINT)") }
        let now = try await database.read { $0.now }
        // As if an hour had passed since the process asked for the time, on this connection or on another one.
        database.clock.heard((now - 3_600_000) * 1000, askedAt: ServerClock.uptime)
        try await database.write { try $0.run("INSERT INTO made VALUES (\($0.now))") }
        let made = try await database.read { try $0.run("SELECT at FROM made").map { $0.int(0) } }
        #expect(made.count == 1 && made.allSatisfy { $0 >= now })
    }
}
