import FoundationEssentials

/// What the registry takes from the machine that it runs on: its clocks and its randomness. Promises depend on none of
/// them; they are measured by the database's clock alone.
package struct Surroundings: Sendable {
    /// Seconds since 1970 UTC.
    package let now: @Sendable () -> Int64
    /// The time since some moment, by a clock that nobody sets.
    package let uptime: @Sendable () -> Duration
    /// So many bytes that nobody can guess.
    package let randomBytes: @Sendable (Int) -> [UInt8]

    package init(
        now: @escaping @Sendable () -> Int64,
        uptime: @escaping @Sendable () -> Duration,
        randomBytes: @escaping @Sendable (Int) -> [UInt8]
    ) {
        (self.now, self.uptime, self.randomBytes) = (now, uptime, randomBytes)
    }

    /// This machine's.
    package static var machine: Surroundings {
        let start = ContinuousClock.now
        return Surroundings(
            now: { Int64(Date().timeIntervalSince1970) },
            uptime: { ContinuousClock.now - start },
            randomBytes: { count in
                var generator = SystemRandomNumberGenerator()
                return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
            }
        )
    }
}
