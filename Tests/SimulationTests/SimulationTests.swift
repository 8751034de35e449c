import Foundation
import Testing

@Suite("The simulation")
struct SimulationTests {
    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    /// A number of seeds, or the first and the last one as in `10001-20000`. Nil if nobody chose them.
    private static let chosenSeeds: Range<UInt64>? = {
        let text = ProcessInfo.processInfo.environment["STRATA_SEEDS"] ?? ""
        let ends = text.split(separator: "-").compactMap { UInt64($0) }
        guard let last = ends.last, let first = ends.count == 2 ? ends.first : 1, first <= last else { return nil }
        return first..<last + 1
    }()

    @Test("finds nothing wrong, whatever fails and in whatever order things happen")
    func holds() async throws {
        if let seed = Self.number("STRATA_SEED") {
            let name = ProcessInfo.processInfo.environment["STRATA_BUG"]
            let bug = SeededBug.all.first { $0.name == name }
            let result = try await Simulation.onThread {
                try Simulation.one(seed, SimulatedSQLite(), bug, traced: true)
            }
            for line in result.trace { print(line) }
            #expect(result.failure == nil, "\(result.failure?.description ?? "")")
            return
        }
        let start = ContinuousClock.now
        let summary = try await Simulation.run(Self.chosenSeeds ?? 1..<41, stopsEarly: false)
        let hours = summary.time / 3_600_000
        print(
            "simulated \(summary.seeds) seeds: \(summary.steps) steps, \(summary.crashes) crashes, \(hours) hours",
            "in \(ContinuousClock.now - start)"
        )
        for failure in summary.failures.prefix(10) { Issue.record("\(failure)") }
    }

    @Test("runs a seed again exactly as it was", arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func repeats(_ seed: UInt64) async throws {
        let traces = try await Simulation.onThread {
            let sql = try SimulatedSQLite()
            return try (0..<2).map { _ in try Simulation.one(seed, sql, traced: true).trace }
        }
        #expect(traces[0] == traces[1])
        #expect(traces[0].count > 100)
    }

    /// All of them, or the one that was chosen.
    private static let bugs = SeededBug.all.map(\.name).filter {
        [nil, $0].contains(ProcessInfo.processInfo.environment["STRATA_BUG"])
    }

    /// Takes minutes, so only where the number of seeds was chosen, as `make simulate` does.
    @Test("finds a seeded bug", .enabled(if: chosenSeeds != nil), arguments: bugs)
    func finds(_ name: String) async throws {
        let bug = try #require(SeededBug.all.first { $0.name == name })
        let summary = try await Simulation.run(1..<bug.limit + 1, bug: bug, stopsEarly: true)
        let first = try #require(summary.failures.min { $0.seed < $1.seed }, "it was not found in \(bug.limit) seeds")
        print("\(name): found by seed \(first.seed): \(first.reason)")
    }
}
