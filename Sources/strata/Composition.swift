import Access
import BlobStorage
import Foundation
import HTTPAPI
import Housekeeping
import Logging
import Metadata
import NIOCore
import NIOPosix
import RegistryCore
import SQLStore
import Telemetry

/// Builds every object from the configuration; nothing else calls their initialisers.
struct Composition {
    let configuration: Configuration
    let logger: Logger
    let metrics = Metrics()
    let threads: NIOThreadPool
    let metadata: MetadataStore
    let blobs: FileBlobStore

    /// Opens the data folder, making it if it is missing. Does not touch the schema.
    init(_ configuration: Configuration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        let folder = URL(fileURLWithPath: configuration.data)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let batches = metrics.histogram(
            "strata_sql_commit_batch_size",
            help: "Writes that shared a commit.",
            bounds: [1, 2, 4, 8, 16, 32, 64]
        )
        let queue = metrics.gauge("strata_sql_write_queue", help: "Writes that wait for the next commit.")
        let database = try SQLiteDatabase(
            path: folder.appendingPathComponent("metadata.sqlite").path,
            durability: configuration.durability == .full ? .full : .normal,
            observer: SQLiteDatabase.Observer(
                queued: { queue.set(Int64($0)) },
                committed: { batches.observe(Double($0)) }
            )
        )
        let promises = Promises(
            lease: configuration.promises.lease,
            window: configuration.promises.window,
            upload: configuration.uploads.sessionLifetime,
            trash: configuration.promises.trash
        )
        metadata = MetadataStore(database, promises: promises)
        threads = NIOThreadPool(numberOfThreads: max(4, 2 * System.coreCount))
        threads.start()
        blobs = try FileBlobStore(
            root: folder.appendingPathComponent("objects").path,
            threads: threads,
            syncs: configuration.durability == .full
        )
    }

    func registry() async throws -> Registry {
        let policy = RegistryPolicy(
            maximumManifestSize: configuration.manifests.maximumSize,
            maximumReferences: configuration.manifests.maximumReferences,
            allowsSparseIndex: configuration.manifests.allowsSparseIndexes,
            maximumBlobSize: configuration.uploads.maximumSize,
            maximumUploadsInFlight: configuration.uploads.maximumInFlight,
            uploadLifetime: configuration.uploads.sessionLifetime
        )
        var generator = SystemRandomNumberGenerator()
        let candidate = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        return Registry(
            metadata: metadata,
            blobs: blobs,
            policy: policy,
            metrics: RegistryMetrics(metrics),
            uploadSecret: try await metadata.secret("upload-id", orElse: candidate),
            logger: logger
        )
    }

    func certificates() throws -> CertificateStore? {
        try configuration.tls.files.map { try CertificateStore(certificatePath: $0.certificate, keyPath: $0.key) }
    }

    func server(_ registry: Registry, _ certificates: CertificateStore?) -> HTTPServer {
        let responder = ServerResponder(
            registry: RegistryResponder(registry: registry, authorizer: Authorizer()),
            readiness: { try await registry.checkReadiness() },
            metrics: metrics,
            logger: logger
        )
        return HTTPServer(
            responder: responder,
            limits: ServerLimits(
                connections: configuration.http.maximumConnections,
                headerBytes: configuration.http.maximumHeaderSize,
                idle: TimeAmount(configuration.http.idleTimeout),
                drain: configuration.http.drainTimeout
            ),
            certificates: certificates,
            group: MultiThreadedEventLoopGroup.singleton,
            connections: metrics.gauge("strata_http_connections", help: "Open connections."),
            logger: logger
        )
    }

    func verifier() -> StoreVerifier { StoreVerifier(metadata: metadata, blobs: blobs) }
}
