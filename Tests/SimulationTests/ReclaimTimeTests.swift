import Access
import Housekeeping
import NIOCore
import OCI
import RegistryCore
import Retention
import SQLStore
import Testing

/// With the windows that Strata has unless configured otherwise, by the virtual clock. The collector rests for ten seconds
/// between rounds, as it does by default.
@Suite("The time until bytes are gone")
struct ReclaimTimeTests {
    private static let minute: Int64 = 60_000
    private static let rest: Int64 = 10_000
    /// What the collectors' rests add: one for each of the stages that wait for each other.
    private static let lag = 4 * rest

    private func measure(_ kind: SimulatedObjects.Kind, _ body: @escaping @Sendable (Client) async throws -> Void)
        async throws -> Int64
    {
        try await Simulation.onThread {
            var plan = Plan(seed: 1)
            (plan.kind, plan.faults, plan.skew) = (kind, 0, [0, 0])
            (plan.deletesUntagged, plan.deletesTags, plan.tags) = (false, true, Content.tags)
            let world = try World(plan, sql: SimulatedSQLite())
            nonisolated(unsafe) var took: Int64 = 0
            try world.run { world in
                try await body(Client(world: world, content: Content()))
                let start = world.scheduler.now
                while !world.objects.objects.isEmpty || !world.objects.parts.isEmpty {
                    try await world.scheduler.turn(after: Self.rest)
                    guard try world.isAnythingDue else { continue }
                    _ = try await world.nodes[0].collector.run()
                }
                took = world.scheduler.now - start
            }
            return took
        }
    }

    @Test("is at most 8 h 15 min after a delete", arguments: [SimulatedObjects.Kind.files, .network])
    func deleted(_ kind: SimulatedObjects.Kind) async throws {
        let took = try await measure(kind) { client in
            let repository = Content.repositories[0]
            guard try await client.push(2, to: repository, as: Content.tags[0]) else { return }
            // Its blobs' leases of the upload are over.
            try await client.scheduler.turn(after: 24 * 60 * Self.minute)
            try await client.delete(2, in: repository)
        }
        print("deleted, \(kind): \(took / 1000) s")
        #expect(took > 8 * 60 * Self.minute, "what is deleted can be put back for a window")
        #expect(took <= (8 * 60 + 15) * Self.minute + Self.lag)
    }

    @Test(
        "is at most 14 h 15 min after a rule deletes a tag that was pushed a moment before, of an image or an index",
        arguments: [SimulatedObjects.Kind.files, .network],
        [2, 4]
    )
    func ruled(_ kind: SimulatedObjects.Kind, _ image: Int) async throws {
        let took = try await measure(kind) { client in
            let repository = Content.repositories[0]
            var policy = SimulatedPolicy()
            policy.rules = [.keepAlways(of: "v2"), .deleteRest(of: "*")]
            try await client.set(policy, of: .registry)
            guard try await client.push(image, to: repository, as: Content.tags[0]) else { return }
            try await client.world.nodes[0].retention.runIfDue()
        }
        print("deleted by a rule, image \(image), \(kind): \(took / 1000) s")
        #expect(took > 14 * 60 * Self.minute, "the manifest stays for a window, then its blobs do")
        #expect(took <= (14 * 60 + 15) * Self.minute + Self.lag)
    }

    @Test(
        "is at most a day and 8 h 15 min after a tag goes or moves, under a rule for what is untagged for a day",
        arguments: [SimulatedObjects.Kind.files, .network],
        [false, true]
    )
    func untagged(_ kind: SimulatedObjects.Kind, _ moves: Bool) async throws {
        let took = try await measure(kind) { client in
            let repository = Content.repositories[0]
            var policy = SimulatedPolicy()
            policy.deletesUntagged = true
            try await client.set(policy, of: .registry)
            guard try await client.push(2, to: repository, as: Content.tags[0]) else { return }
            try await client.scheduler.turn(after: 24 * 60 * Self.minute)
            guard moves else { return try await client.delete(Content.tags[0], in: repository) }
            // All its blobs lie in the database.
            _ = try await client.push(6, to: repository, as: Content.tags[0])
        }
        print("untagged, \(moves ? "moved" : "deleted"), \(kind): \(took / 1000) s")
        #expect(took > 32 * 60 * Self.minute)
        #expect(took <= (32 * 60 + 15) * Self.minute + Self.lag)
    }

    @Test(
        "is at most 14 h 15 min after an upload that nothing ever lists",
        arguments: [SimulatedObjects.Kind.files, .network]
    )
    func abandoned(_ kind: SimulatedObjects.Kind) async throws {
        let took = try await measure(kind) { client in
            _ = try await client.upload(0, to: Content.repositories[0])
        }
        print("never listed, \(kind): \(took / 1000) s")
        #expect(took > 14 * 60 * Self.minute, "an upload is promised for its lease")
        #expect(took <= (14 * 60 + 15) * Self.minute + Self.lag)
    }
}
