import SQLStore
import Testing

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
}
