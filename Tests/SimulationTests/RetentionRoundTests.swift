import Housekeeping
import OCI
import Retention
import SQLStore
import Testing

@Suite("A round of the rules")
struct RetentionRoundTests {
    /// - Parameter progress: what is written down of a round that was stopped.
    /// - Returns: the repositories whose tags are gone after the next one.
    private func emptied(by progress: String?) async throws -> [RepositoryName] {
        try await Simulation.onThread {
            var plan = Plan(seed: 1)
            (plan.faults, plan.skew, plan.deletesTags, plan.tags) = (0, [0, 0], true, Content.tags)
            let world = try World(plan, sql: SimulatedSQLite())
            nonisolated(unsafe) var emptied: [RepositoryName] = []
            try world.run { world in
                let (client, retention) = (Client(world: world, content: try Content()), world.nodes[0].retention)
                try await retention.runIfDue()
                for repository in Content.repositories {
                    guard try await client.push(2, to: repository, as: Content.tags[0]) else { return }
                }
                var policy = SimulatedPolicy()
                policy.rules = [.keepAlways(of: "v2"), .deleteRest(of: "*")]
                try await client.set(policy, of: .registry)
                try await world.scheduler.turn(after: 3_600_000)
                try world.sql.transaction(now: 0) { _ = try $0.run("UPDATE job SET progress = \(optional: progress)") }
                try await retention.runIfDue()
                let left = try world.sql.rows(
                    "SELECT r.name FROM tag t JOIN repository r ON r.id = t.repo_id",
                    now: 0
                ).map { $0.text(0) }
                emptied = Content.repositories.filter { !left.contains($0.text) }
            }
            return emptied
        }
    }

    @Test("goes on where another one was stopped, and begins anew after its end")
    func goesOn() async throws {
        let repositories = Content.repositories.sorted { $0.text < $1.text }
        #expect(try await Set(emptied(by: nil)) == Set(repositories))
        #expect(try await emptied(by: "1 \(repositories[0])") == Array(repositories.dropFirst()))
        #expect(try await emptied(by: "2 \(repositories[0])") == [])
        #expect(try await Set(emptied(by: "nonsense")) == Set(repositories))
    }
}
