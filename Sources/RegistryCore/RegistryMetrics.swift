package import Telemetry

/// What the registry counts.
package struct RegistryMetrics: Sendable {
    let uploadedBytes: Counter
    let uploads: Counter
    let mounts: Counter
    let redirects: Counter
    let inFlight: Counter

    package init(_ metrics: Metrics) {
        uploadedBytes = metrics.counter("strata_blob_upload_bytes_total", help: "Bytes received in blob uploads.")
        uploads = metrics.counter(
            "strata_blob_uploads_total",
            help: "Finished blob uploads, by whether the bytes were new.",
            labels: ["outcome"]
        )
        mounts = metrics.counter(
            "strata_blob_mounts_total",
            help: "Mount requests, by whether they mounted the blob or opened an upload session.",
            labels: ["outcome"]
        )
        redirects = metrics.counter(
            "strata_blob_redirects_total",
            help: "Downloads for which a client was sent to the object store or the CDN."
        )
        inFlight = metrics.gauge("strata_uploads_in_flight", help: "Requests that are sending bytes of a blob now.")
    }
}
