import Housekeeping
import OCI
@testable import SQLStore
import Testing

@Suite("A collector with a backlog of one kind")
struct CollectorTurnsTests {
    private static let hour: Int64 = 3_600_000

    @Test("still deletes objects that are due")
    func takesTurns() async throws {
        let left = try await Simulation.onThread {
            var plan = Plan(seed: 1)
            (plan.faults, plan.skew, plan.deletesUntagged) = (0, [0, 0], false)
            let world = try World(plan, sql: SimulatedSQLite())
            nonisolated(unsafe) var left: Int64?
            try world.run { world in
                let (client, collector) = (Client(world: world, content: try Content()), world.nodes[0].collector)
                _ = try await client.upload(0, to: Content.repositories[0])
                // Its link goes, then the blob; then its object waits in the trash, and is due.
                for hours in [13, 1] {
                    try await world.scheduler.turn(after: Int64(hours) * Self.hour)
                    _ = try await collector.run()
                }
                try await world.scheduler.turn(after: 3 * Self.hour)
                _ = try world.sql.transaction(now: 0) { db in
                    try db.run(
                        """
                        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                        INSERT INTO gc_hint (kind, due_at, ref) SELECT 2, 0, 1000000 + i FROM n
                        """
                    )
                }
                async let report = collector.run()
                while !world.objects.objects.isEmpty { try await world.scheduler.turn() }
                left = try world.sql.rows("SELECT count(*) FROM gc_hint WHERE kind = 2", now: 0).first?.int(0)
                _ = try await report
            }
            return left
        }
        #expect(try #require(left) > 800)
    }
}
