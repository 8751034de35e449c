import Housekeeping
import Testing

@Suite("The pace of the collector")
struct PaceTests {
    @Test(
        "is what was configured, and from four hours behind twice as much with each hour",
        arguments: [(0, 10), (3, 10), (4, 20), (5, 40), (6, 80), (7, 100), (400_000, 100)] as [(Int64, Int)]
    )
    func adapts(_ hours: Int64, _ share: Int) {
        let pace = Pace(percent: 10)
        pace.adapt(toLag: hours * 3_600_000 + 3_599_999)
        #expect(pace.share == share)
        pace.adapt(toLag: 0)
        #expect(pace.share == 10)
    }
}
