/// How much of its time a background worker works. After each step it rests in proportion to what the step took, so that
/// the slower the stores are, the less is asked of them.
package struct Pace: Sendable {
    /// 1 to 100.
    private let percent: Int
    /// A step that hung must not make the rest hang as long.
    private static let longestRest = Duration.seconds(5)

    package static let unlimited = Pace(percent: 100)

    package init(percent: Int) { self.percent = percent }

    func paced<Result>(_ step: () async throws -> Result) async throws -> Result {
        let start = ContinuousClock.now
        let result = try await step()
        guard percent < 100 else { return result }
        let took = ContinuousClock.now - start
        try await Task.sleep(for: min(Self.longestRest, took * (100 - percent) / percent))
        return result
    }
}
