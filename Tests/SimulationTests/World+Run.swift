import BlobStorage
import Housekeeping
import Metadata
import OCI
import Retention
import SQLStore

extension World {
    /// Lets everybody act until they are done, then the collectors until nothing is left to do.
    ///
    /// - Throws: ``Witness/Violation`` at the first step after which something does not hold.
    func run() throws {
        try run { world in
            guard let content = Content.standard else { return }
            await world.act(content)
            if world.plan.deletesTags { try await world.endRules(content) }
            try await world.settle()
            try await world.pullEverything(content)
        }
    }

    /// Lets `body` act, with the witness watching every step.
    func run(_ body: @escaping @Sendable (World) async throws -> Void) throws {
        try scheduler.run { [self] in
            do {
                try await nodes[0].metadata.migrate()
                witness.isWatching = true
                if plan.deletesUntagged, let content = Content.standard {
                    var policy = SimulatedPolicy()
                    policy.deletesUntagged = true
                    try await Client(world: self, content: content).set(policy, of: .registry)
                }
                try await body(self)
            } catch is Scheduler.Halted {
                return
            } catch {
                witness.complain("the run failed: \(error)")
            }
        } afterStep: {
            try witness.check()
        }
    }

    private func act(_ content: Content) async {
        faults.permille = plan.faults
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<plan.clients {
                group.addTask { [self] in
                    await Client(world: self, content: content).run()
                    return true
                }
            }
            for index in nodes.indices { group.addTask { [self] in await collect(at: index) } }
            for index in nodes.indices where plan.deletesTags {
                group.addTask { [self] in await applyRules(at: index) }
            }
            var clients = plan.clients
            while clients > 0, let isClient = await group.next() { clients -= isClient ? 1 : 0 }
            isOver = true
        }
        faults.permille = 0
    }

    private func collect(at index: Int) async -> Bool {
        await repeating("the collector") {
            let minute: Int64 = 60_000
            let rest = scheduler.chance.hits(300) ? 5 * minute : 240 * minute
            try await scheduler.turn(after: minute + scheduler.chance.upTo(rest))
            guard try isAnythingDue else { return }
            log("node \(index) collects")
            _ = try await nodes[index].collector.run()
        }
    }

    private func applyRules(at index: Int) async -> Bool {
        await repeating("the rules") {
            try await scheduler.turn(after: scheduler.chance.upTo(24 * 3_600_000))
            try await nodes[index].retention.runIfDue()
        }
    }

    /// What a process does in the background, until the run is over.
    private func repeating(_ what: String, _ round: () async throws -> Void) async -> Bool {
        while !isOver {
            do {
                try await round()
            } catch is Scheduler.Halted {
                return false
            } catch let error as SQLError {
                if case .failed = error { witness.complain("\(what) failed: \(error)") }
            } catch {
                continue  // the process has ended
            }
        }
        return false
    }

    /// A round of the rules in which nothing fails. Then nothing is held any more.
    private func endRules(_ content: Content) async throws {
        // The rest of a round that a process has left comes before a whole one.
        let isLeft = try !sql.rows("SELECT 1 FROM job WHERE progress IS NOT NULL", now: 0).isEmpty
        var start = scheduler.now
        for _ in 0..<(isLeft ? 2 : 1) {
            // No process that has ended has the job any more, and it is due.
            try await scheduler.turn(after: 2 * 3_600_000)
            start = scheduler.now
            try await nodes[0].retention.runIfDue()
        }
        try witness.checkRulesWereApplied(at: start)
        let client = Client(world: self, content: content)
        for repository in Content.repositories { while try await client.releaseHold(in: repository) {} }
        guard plan.keepsUntagged else { return }
        // What was kept when a collector looked at it, and is kept no more, is found by a round of the rules.
        try await scheduler.turn(after: 26 * 3_600_000)
        try await nodes[0].retention.runIfDue()
    }

    /// Rounds of the collectors, whenever something is due, until nothing is.
    func settle() async throws {
        for _ in 0..<200 {
            // What is still on its way arrives first.
            try await scheduler.turn(after: Faults.longestDelay)
            _ = try await nodes[Int(scheduler.chance.upTo(1))].collector.run()
            guard let due = try sql.rows(.nextDue, now: 0).first?.optionalInt(0) else { break }
            try await scheduler.turn(after: max(0, due - scheduler.now) + 2 * 3_600_000)
        }
        let repositories = Content.repositories.filter {
            plan.deletesUntagged && !witness.rules.mayKeepUntagged(in: $0)
        }
        try witness.checkNothingIsLeft(untaggedIn: repositories, late: plan.faults > 0)
    }

    private func pullEverything(_ content: Content) async throws {
        let client = Client(world: self, content: content)
        for repository in Content.repositories {
            for tag in plan.tags { try await client.pull(tag, from: repository) }
        }
    }

    /// Whether a collector would find anything to do.
    var isAnythingDue: Bool {
        get throws { try sql.rows(.nextDue, now: 0).first?.optionalInt(0).map { $0 <= scheduler.now } ?? false }
    }

    /// Whether a query finds anything.
    func sees(_ query: Query) -> Bool { (try? sql.rows(query, now: scheduler.now).isEmpty) == false }

    /// For a seeded bug that uses keys again.
    func noteUsed(_ key: [UInt8]) {
        if !usedKeys.contains(key) { usedKeys.append(key) }
    }

    /// For a seeded bug: a key that no row knows any more.
    func takeUsedKey() -> [UInt8]? {
        guard let key = usedKeys.popLast() else { return nil }
        let rows = try? sql.rows(
            """
            SELECT 1 FROM object_trash WHERE skey = \(key) UNION ALL SELECT 1 FROM blob_copy WHERE skey = \(key)
            """,
            now: 0
        )
        return rows?.isEmpty == true ? key : nil
    }

    /// For a seeded bug.
    func loseObject(_ key: [UInt8]) { try? objects.delete(StorageKey(bytes: key)) }
}

extension Query {
    /// When a collector has something to do next.
    fileprivate static let nextDue: Query = """
        SELECT min(due) FROM (
            SELECT min(due_at) AS due FROM gc_hint
            UNION ALL SELECT min(max(delete_after, coalesce(claimed_until + 1, 0))) FROM object_trash
            UNION ALL SELECT min(expires_at) FROM upload_session
            UNION ALL SELECT min(purge_at) FROM deleted_repository
            UNION ALL SELECT min(restorable_until) FROM deleted_manifest
            UNION ALL SELECT min(restorable_until) FROM deleted_tag
        )
        """
}
