import Foundation
import Synchronization

/// Runs seeds, on as many threads as there are cores.
enum Simulation {
    struct Failure: Error, CustomStringConvertible, Sendable {
        let seed: UInt64
        let reason: String
        let steps: Int

        var description: String {
            "\(reason). After \(steps) steps; run it again with STRATA_SEED=\(seed) make simulate"
        }
    }

    struct Summary: Sendable {
        var seeds = 0
        var steps = 0
        var crashes = 0
        /// Milliseconds of simulated time.
        var time: Int64 = 0
        var failures: [Failure] = []
    }

    /// - Parameter stopsEarly: whether the first failure ends it.
    static func run(_ seeds: Range<UInt64>, bug: SeededBug? = nil, stopsEarly: Bool) async throws -> Summary {
        let progress = Progress(seeds)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<max(1, ProcessInfo.processInfo.activeProcessorCount) {
                group.addTask {
                    try await onThread {
                        let sql = try SimulatedSQLite()
                        while let seed = progress.next(stopsEarly: stopsEarly) {
                            progress.add(try one(seed, sql, bug), tells: bug == nil)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        return progress.summary
    }

    private final class Progress: Sendable {
        private let state: Mutex<(next: UInt64, summary: Summary)>
        private let end: UInt64

        init(_ seeds: Range<UInt64>) {
            state = Mutex((seeds.lowerBound, Summary()))
            end = seeds.upperBound
        }

        func next(stopsEarly: Bool) -> UInt64? {
            state.withLock { state in
                guard state.next < end, !stopsEarly || state.summary.failures.isEmpty else { return nil }
                defer { state.next += 1 }
                return state.next
            }
        }

        /// - Parameter tells: for a run of many seeds, which takes hours.
        func add(_ result: Result, tells: Bool) {
            let seeds = state.withLock { state in
                state.summary.add(result)
                return state.summary.seeds
            }
            guard tells else { return }
            if let failure = result.failure { print(failure) }
            if seeds.isMultiple(of: 10_000) { print("\(seeds) seeds") }
        }

        var summary: Summary { state.withLock(\.summary) }
    }

    struct Result: Sendable {
        let failure: Failure?
        let steps: Int
        let crashes: Int
        let time: Int64
        let trace: [String]
    }

    static func one(_ seed: UInt64, _ sql: SimulatedSQLite, _ bug: SeededBug? = nil, traced: Bool = false) throws
        -> Result
    {
        var plan = Plan(seed: seed)
        plan.isTraced = traced
        if let bug { bug.adapt(&plan) }
        let world = try World(plan, sql: sql, bug: bug)
        defer { world.end() }
        let start = world.scheduler.now
        var failure: Failure?
        do {
            try world.run()
        } catch {
            failure = Failure(seed: seed, reason: "\(error)", steps: world.scheduler.steps)
        }
        return Result(
            failure: failure,
            steps: world.scheduler.steps,
            crashes: world.crashes,
            time: world.scheduler.now - start,
            trace: world.trace
        )
    }

    /// Runs on a thread of its own, which blocks none that others need.
    static func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let thread = Thread { continuation.resume(with: Swift.Result { try body() }) }
            thread.stackSize = 8 << 20
            thread.start()
        }
    }
}

extension Simulation.Summary {
    mutating func add(_ result: Simulation.Result) {
        seeds += 1
        steps += result.steps
        crashes += result.crashes
        time += result.time
        if let failure = result.failure { failures.append(failure) }
    }
}
