import Synchronization

/// When a run ends.
package enum LoadLimit: Hashable, Sendable {
    /// No operation begins after so long.
    case time(Duration)
    /// All workers together do so many.
    case operations(Int)
}

/// One scenario with one number of workers, each on a connection of its own.
package struct LoadRun: Sendable {
    private let endpoint: Endpoint
    private let scenario: Scenario
    private let material: Material
    private let workers: Int
    private let limit: LoadLimit
    private let meter: ServerMeter?

    /// - Parameter processes: of the server, to measure what it uses; may be empty.
    package init(
        _ scenario: Scenario,
        of material: Material,
        against endpoint: Endpoint,
        workers: Int,
        limit: LoadLimit,
        processes: [Int32]
    ) {
        (self.scenario, self.material, self.endpoint, self.workers) = (scenario, material, endpoint, workers)
        self.limit = scenario == .seed ? .operations(material.corpus.manifests) : limit
        meter = processes.isEmpty ? nil : ServerMeter(processes: processes)
    }

    /// Prepares the scenario, which is not measured, and runs it. Blocks the calling thread until it is over.
    package func measure() throws -> Measurement {
        let workload = try scenario.workload(material, preparedWith: RegistryClient(endpoint))
        try meter?.resetPeak()
        let cpuBefore = try meter?.cpuSeconds()
        let start = ContinuousClock.now
        let shared = SharedState(limit, from: start)
        try onThreads(workers) { [endpoint] _ in shared.add(Self.work(workload, RegistryClient(endpoint), shared)) }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        let tally = shared.total
        let used = try meter.flatMap { meter in
            try cpuBefore.map { try server(meter, cpuSeconds: meter.cpuSeconds() - $0, tally) }
        }
        return measurement(tally, seconds: seconds, used)
    }

    private static func work(_ workload: any Workload, _ client: RegistryClient, _ shared: SharedState) -> Tally {
        var tally = Tally()
        while tally.errors < maximumErrors, let number = shared.nextOperation() {
            let start = ContinuousClock.now
            do {
                tally.bytes += try workload.perform(number, with: client)
                tally.latencies.record(ContinuousClock.now - start)
            } catch {
                tally.record(error)
            }
        }
        return tally
    }

    /// Errors after which a worker gives up: a server that is gone would otherwise be asked as fast as it can refuse.
    private static let maximumErrors = 10

    private func server(_ meter: ServerMeter, cpuSeconds: Double, _ tally: Tally) throws -> Measurement.Server {
        Measurement.Server(
            cpuSeconds: cpuSeconds,
            cpuMillisecondsPerOperation: cpuSeconds * 1000 / Double(max(1, tally.latencies.total)),
            cpuSecondsPerGigabyte: cpuSeconds * 1e9 / Double(max(1, tally.bytes)),
            peakResidentBytes: try meter.peakResidentBytes()
        )
    }

    private func measurement(_ tally: Tally, seconds: Double, _ server: Measurement.Server?) -> Measurement {
        Measurement(
            scenario: scenario.rawValue,
            blobSize: scenario.dependsOnSize ? material.blobSize : nil,
            workers: workers,
            operations: tally.latencies.total,
            seconds: seconds,
            operationsPerSecond: Double(tally.latencies.total) / seconds,
            megabytesPerSecond: Double(tally.bytes) / 1e6 / seconds,
            latency: Measurement.Latency(
                p50: tally.latencies.milliseconds(atShare: 0.5),
                p95: tally.latencies.milliseconds(atShare: 0.95),
                p99: tally.latencies.milliseconds(atShare: 0.99)
            ),
            errors: tally.errors,
            firstError: tally.firstError,
            server: server
        )
    }
}

/// What the workers of a run have in common.
private final class SharedState: Sendable {
    private let limit: LoadLimit
    private let start: ContinuousClock.Instant
    private let begun = Atomic(0)
    private let tally = Mutex(Tally())

    init(_ limit: LoadLimit, from start: ContinuousClock.Instant) { (self.limit, self.start) = (limit, start) }

    /// The number of an operation to do; nil when the run is over.
    func nextOperation() -> Int? {
        let number = begun.add(1, ordering: .relaxed).oldValue
        return switch limit {
        case .time(let duration): ContinuousClock.now - start < duration ? number : nil
        case .operations(let count): number < count ? number : nil
        }
    }

    func add(_ other: Tally) { tally.withLock { $0.add(other) } }
    var total: Tally { tally.withLock { $0 } }
}
