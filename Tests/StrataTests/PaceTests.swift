@testable import Housekeeping
import Testing

@Suite("The pace of the collector")
struct PaceTests {
    private static let hour: Int64 = 3_600_000

    @Test(
        "is what was configured, and from four hours behind twice as much with each hour",
        arguments: [(0, 10), (3, 10), (4, 20), (5, 40), (6, 80), (7, 100), (400_000, 100)] as [(Int64, Int)]
    )
    func adapts(_ hours: Int64, _ share: Int) {
        let pace = Pace(percent: 10)
        pace.adapt(toLag: (hours + 1) * Self.hour - 1)
        #expect(pace.share == share)
        pace.adapt(toLag: 0)
        #expect(pace.share == 10)
    }

    @Test(
        "is kept by resting after each step, nine times as long as it took at a share of a tenth",
        arguments: [10, 50]
    )
    func rests(_ share: Int) async throws {
        let (pace, clock) = (Pace(percent: share), ContinuousClock())
        for _ in 0..<4 {
            var worked = Duration.zero
            let all = try await clock.measure {
                worked = try await pace.paced {
                    try await clock.measure { try await Task.sleep(for: .milliseconds(50)) }
                }
            }
            // What it takes to come to rest and back is no rest, but small; a step that hung is not paid for.
            #expect(all - worked >= min(worked * (100 - share) / share, .seconds(5)))
        }
    }
}
