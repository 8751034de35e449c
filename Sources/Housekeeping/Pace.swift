import Synchronization

/// How much of its time a background worker works. After each step it rests in proportion to what the step took, so that
/// the slower the stores are, the less is asked of them. One that is hours behind rests less.
package final class Pace: Sendable {
    /// 1 to 100.
    private let percent: Int
    private let hoursBehind = Atomic(0)
    /// A step that hung must not make the rest hang as long.
    private static let longestRest = Duration.seconds(5)
    /// From then on the share doubles with each hour. What is due must be gone within nine: a day without the 14 h 15 min
    /// for which promises and the trash keep the bytes of what is deleted right after its push.
    private static let patience = 4

    package static let unlimited = Pace(percent: 100)

    package init(percent: Int) { self.percent = percent }

    /// Of its time, for now.
    package var share: Int {
        let doublings = max(0, hoursBehind.load(ordering: .relaxed) - Self.patience + 1)
        return min(100, percent << min(doublings, 7))
    }

    /// - Parameter milliseconds: for how long the oldest work that is due has waited.
    package func adapt(toLag milliseconds: Int64) {
        hoursBehind.store(Int(clamping: milliseconds / 3_600_000), ordering: .relaxed)
    }

    func paced<Result>(_ step: () async throws -> Result) async throws -> Result {
        let start = ContinuousClock.now
        let result = try await step()
        let share = share
        guard share < 100 else { return result }
        let took = ContinuousClock.now - start
        try await Task.sleep(for: min(Self.longestRest, took * (100 - share) / share))
        return result
    }
}
