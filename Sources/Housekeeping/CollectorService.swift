import Telemetry
package import Logging
package import Metadata

/// Collects for as long as a server runs.
package struct CollectorService: Sendable {
    private let collector: Collector
    private let pace: Pace
    private let metadata: MetadataStore
    private let metrics: CollectorMetrics
    private let interval: Duration
    private let logger: Logger

    /// How often the queues are measured. The trash is summed up, which reads all of it.
    private static let statusInterval = Duration.seconds(60)

    /// - Parameters:
    ///   - pace: the collector's, told how far behind the queues are.
    ///   - interval: how long it rests when nothing is left to do, and after a failure.
    package init(
        _ collector: Collector,
        pace: Pace,
        metadata: MetadataStore,
        metrics: CollectorMetrics,
        interval: Duration,
        logger: Logger
    ) {
        (self.collector, self.pace, self.metadata, self.metrics) = (collector, pace, metadata, metrics)
        (self.interval, self.logger) = (interval, logger)
    }

    /// Returns when its task is cancelled. A failure costs a round and nothing else: readiness does not depend on it.
    package func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await collect() }
            // Beside the rounds: one that works off a large backlog takes hours.
            group.addTask { await measure() }
        }
    }

    private func collect() async {
        while !Task.isCancelled {
            do {
                let report = try await collector.run()
                if report.bytes > 0 { log(report) }
            } catch is CancellationError {
                return
            } catch {
                metrics.failures.add()
                logger.warning("a round of the collector failed; the next one goes on", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: interval)  // cancelled: the loop ends
        }
    }

    private func measure() async {
        while !Task.isCancelled {
            do {
                var status = try await metadata.collectionStatus()
                pace.adapt(toLag: status.lag.values.max() ?? 0)
                metrics.show(lagsOf: status, share: pace.share)
                // After that: where the trash is so large that this fails, it is known how late its deletion is.
                try await metadata.countTrash(in: &status)
                metrics.show(trashOf: status)
            } catch is CancellationError {
                return
            } catch {
                logger.notice(
                    "how far behind the collector is, or what is in the trash, could not be asked",
                    metadata: ["error": "\(error)"]
                )
            }
            try? await Task.sleep(for: Self.statusInterval)  // cancelled: the loop ends
        }
    }

    private func log(_ report: CollectionReport) {
        logger.info(
            "reclaimed",
            metadata: [
                "bytes": "\(report.bytes)", "objects": "\(report.objects.removed)", "blobs": "\(report.blobs.removed)",
                "manifests": "\(report.manifests.removed)",
            ]
        )
    }
}
