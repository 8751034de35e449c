/// Counts durations in buckets that are about 3 % wide, so that memory is bounded however many operations there are.
struct LatencyHistogram: Sendable {
    private var counts = [Int](repeating: 0, count: (64 - stepBits) << stepBits)
    private(set) var total = 0

    private static let stepBits = 5

    mutating func record(_ duration: Duration) {
        counts[Self.bucket(max(0, Int64(duration / .microseconds(1))))] += 1
        total += 1
    }

    mutating func add(_ other: Self) {
        for (index, count) in other.counts.enumerated() { counts[index] += count }
        total += other.total
    }

    /// Milliseconds that a share of all operations took at most.
    func milliseconds(atShare share: Double) -> Double {
        var left = (Double(total) * share).rounded(.up)
        for (bucket, count) in counts.enumerated() where count > 0 {
            left -= Double(count)
            if left <= 0 { return Double(Self.microseconds(of: bucket)) / 1000 }
        }
        return 0
    }

    /// Up to 32 µs a bucket each; from there 32 buckets for each power of two.
    private static func bucket(_ microseconds: Int64) -> Int {
        let bits = 64 - microseconds.leadingZeroBitCount
        guard bits > stepBits + 1 else { return Int(microseconds) }
        let shift = bits - stepBits - 1
        return (shift << stepBits) + Int(microseconds >> Int64(shift))
    }

    private static func microseconds(of bucket: Int) -> Int64 {
        let shift = max(0, (bucket >> stepBits) - 1)
        return Int64(bucket - (shift << stepBits)) << Int64(shift)
    }
}
