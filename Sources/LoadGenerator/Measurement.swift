/// What one scenario with one number of workers came to. A GB is 10⁹ bytes, an MB 10⁶.
package struct Measurement: Encodable, Sendable {
    package let scenario: String
    /// Bytes of a blob; nil where the scenario has no such size.
    package let blobSize: Int?
    package let workers: Int
    package let operations: Int
    package let seconds: Double
    package let operationsPerSecond: Double
    package let megabytesPerSecond: Double
    package let latency: Latency
    package let errors: Int
    package let firstError: String?
    /// Nil unless the server's processes were given.
    package let server: Server?

    /// Milliseconds that half, 95 % and 99 % of the operations took at most.
    package struct Latency: Encodable, Sendable {
        package let p50: Double
        package let p95: Double
        package let p99: Double
    }

    /// What the server used, user and system time together.
    package struct Server: Encodable, Sendable {
        package let cpuSeconds: Double
        package let cpuMillisecondsPerOperation: Double
        package let cpuSecondsPerGigabyte: Double
        package let peakResidentBytes: Int
    }
}

/// What one worker, or all together, did.
struct Tally: Sendable {
    var latencies = LatencyHistogram()
    var bytes = 0
    var errors = 0
    var firstError: String?

    mutating func add(_ other: Self) {
        latencies.add(other.latencies)
        bytes += other.bytes
        errors += other.errors
        firstError = firstError ?? other.firstError
    }

    mutating func record(_ error: any Error) {
        errors += 1
        firstError = firstError ?? "\(error)"
    }
}
