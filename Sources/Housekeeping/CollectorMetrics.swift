import Foundation
import Metadata
package import Telemetry

/// What the collector tells of itself.
package struct CollectorMetrics: Sendable {
    private let collected: Counter
    private let reclaimed: Counter
    let failures: Counter
    private let lastStep: Counter
    private let lag: Counter
    private let share: Counter
    private let pendingObjects: Counter
    private let pendingBytes: Counter
    private let oldest: Counter

    package init(_ metrics: Metrics) {
        collected = metrics.counter(
            "strata_gc_collected_total",
            help: "Rows and objects that the collector of this process removed, by what they were.",
            labels: ["kind"]
        )
        reclaimed = metrics.counter(
            "strata_gc_reclaimed_bytes_total",
            help: "Bytes of manifests, small blobs and objects that the collector of this process removed."
        )
        failures = metrics.counter(
            "strata_gc_failures_total",
            help: "Deletions and rounds of the collector that failed and are tried again."
        )
        lastStep = metrics.gauge(
            "strata_gc_last_step_timestamp_seconds",
            help: "When the collector of this process last looked at a queue and came back, in seconds since 1970."
        )
        lag = metrics.gauge(
            "strata_gc_lag_seconds",
            help: "For how long the oldest entry that is due has waited, by queue.",
            labels: ["queue"]
        )
        share = metrics.gauge(
            "strata_gc_share_percent",
            help: "How much of the time the collector of this process works while there is something to do."
        )
        pendingObjects = metrics.gauge(
            "strata_gc_pending_objects",
            help: "Objects of deleted blobs that wait to be deleted."
        )
        pendingBytes = metrics.gauge("strata_gc_pending_bytes", help: "Their bytes.")
        oldest = metrics.gauge(
            "strata_gc_oldest_trash_seconds",
            help: "For how long the oldest object could have been deleted."
        )
    }

    func count(_ done: Collected, _ kind: String) {
        lastStep.set(Int64(Date().timeIntervalSince1970))
        guard done.removed > 0 else { return }
        collected.add(Int64(done.removed), kind)
        reclaimed.add(done.bytes)
    }

    func show(lagsOf status: CollectionStatus, share percent: Int) {
        share.set(Int64(percent))
        for (queue, milliseconds) in status.lag { lag.set(milliseconds / 1000, queue.rawValue) }
        oldest.set(status.oldestTrash / 1000)
    }

    func show(trashOf status: CollectionStatus) {
        pendingObjects.set(status.pendingObjects)
        pendingBytes.set(status.pendingBytes)
    }
}
