import Access
import BlobStorage
import Foundation
import HTTPAPI
import Housekeeping
import Importing
import Logging
import Metadata
import NIOCore
import NIOPosix
import OCI
import RegistryCore
import Retention
import SQLStore
import Telemetry

/// Builds every object from the configuration; nothing else calls their initialisers.
struct Composition {
    let configuration: Configuration
    let logger: Logger
    let metrics = Metrics()
    let threads: NIOThreadPool
    let metadata: MetadataStore
    let blobs: any BlobStore

    /// Opens the stores for as long as `body` runs; a data folder that they need is made if it is missing. Does not touch
    /// the schema.
    static func with<Result>(
        _ configuration: Configuration,
        logger: Logger,
        _ body: (Composition) async throws -> Result
    ) async throws -> Result {
        let composition = try Composition(configuration, logger: logger)
        do {
            let result = try await body(composition)
            try await composition.blobs.close()
            return result
        } catch {
            try? await composition.blobs.close()  // what went wrong before says more
            throw error
        }
    }

    private init(_ configuration: Configuration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        let promises = Promises(
            lease: configuration.promises.lease,
            window: configuration.promises.window,
            upload: configuration.uploads.sessionLifetime,
            blobDelay: configuration.promises.blobDelay,
            trash: configuration.promises.trash
        )
        let batches = metrics.histogram(
            "strata_upload_batch_size",
            help: "Finished uploads that shared a transaction.",
            bounds: [1, 2, 4, 8, 16, 32, 64]
        )
        metadata = MetadataStore(
            try Self.makeDatabase(configuration, metrics, logger),
            promises: promises,
            manifestCache: configuration.manifests.cacheSize,
            committed: { batches.observe(Double($0)) }
        )
        threads = NIOThreadPool(numberOfThreads: max(4, 2 * System.coreCount))
        threads.start()
        blobs = try Self.makeBlobStore(configuration, threads, logger)
    }

    /// - Parameter downloads: nil if all bytes are sent by this process.
    func registry(_ downloads: DownloadPolicy?) async throws -> Registry {
        let policy = RegistryPolicy(
            maximumManifestSize: configuration.manifests.maximumSize,
            maximumReferences: configuration.manifests.maximumReferences,
            allowsSparseIndex: configuration.manifests.allowsSparseIndexes,
            maximumBlobSize: configuration.uploads.maximumSize,
            maximumUploadsInFlight: configuration.uploads.maximumInFlight,
            uploadLifetime: configuration.uploads.sessionLifetime
        )
        let surroundings = Surroundings.machine
        return Registry(
            metadata: metadata,
            blobs: blobs,
            policy: policy,
            downloads: downloads,
            metrics: RegistryMetrics(metrics),
            uploadSecret: try await metadata.secret(MetadataStore.uploadSecret, orElse: surroundings.randomBytes(32)),
            surroundings: surroundings,
            logger: logger
        )
    }

    func readiness() -> Readiness {
        Readiness([
            Readiness.Check("the database") { [metadata] in try await metadata.ping() },
            Readiness.Check("the blob store") { [blobs] in try await blobs.checkHealth() },
        ])
    }

    func server(_ registry: Registry, _ readiness: Readiness, _ certificates: CertificateStore?) -> HTTPServer {
        let responder = ServerResponder(
            registry: RegistryResponder(
                registry: registry,
                authorizer: Authorizer(),
                networks: ClientNetworks(
                    withoutStore: configuration.downloads.proxyNetworks,
                    trustedProxies: configuration.downloads.trustedProxies
                )
            ),
            management: ManagementResponder(registry: registry, authorizer: Authorizer()),
            readiness: readiness,
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

    func databaseCheckup() -> DatabaseCheckup { DatabaseCheckup(metadata) }

    /// - Parameters:
    ///   - readingURL: whether signed URLs are tried, if clients are sent to any.
    ///   - hasSchema: whether the database can keep the keys.
    func blobStoreCheckup(readingURL: Bool, hasSchema: Bool = true) -> BlobStoreCheckup {
        let redirects = readingURL && configuration.redirectsToBucket
        return BlobStoreCheckup(hasSchema ? metadata : nil, blobs, redirects: redirects)
    }

    /// Of a bucket before there is a data folder with a database, which is not made for it.
    static func bucketCheckup(_ configuration: Configuration, logger: Logger) async throws -> [Diagnosis] {
        let bucket = try makeBlobStore(configuration, NIOThreadPool.singleton, logger)
        let found = await BlobStoreCheckup(nil, bucket, redirects: configuration.redirectsToBucket).run()
        try await bucket.close()
        return found
    }

    /// Nil if nothing is kept in the data folder.
    static func folderCheckup(_ configuration: Configuration) -> FolderCheckup? {
        configuration.usesDataFolder ? FolderCheckup(configuration.data) : nil
    }

    func collector(_ pace: Pace, _ metrics: CollectorMetrics?) -> Collector {
        Collector(metadata: metadata, blobs: blobs, pace: pace, metrics: metrics, logger: logger)
    }

    func collectorService() -> CollectorService {
        let metrics = CollectorMetrics(metrics)
        let pace = Pace(percent: configuration.collection.share)
        return CollectorService(
            collector(pace, metrics),
            pace: pace,
            metadata: metadata,
            metrics: metrics,
            interval: configuration.collection.interval,
            logger: logger
        )
    }

    /// What the policies would delete now, or with another one in the place of the one that its scope has.
    func retentionPlan(of repository: RepositoryName, trying trial: ScopedPolicy? = nil) async throws
        -> RetentionPlan?
    {
        try await metadata.retentionPlan(of: repository, trying: trial, reading: blobs.bytes)
    }

    func retentionService() -> RetentionService {
        RetentionService(
            metadata,
            blobs,
            pace: Pace(percent: configuration.collection.share),
            metrics: RetentionMetrics(metrics),
            interval: configuration.retention.interval,
            logger: logger
        )
    }

    func verifier() -> StoreVerifier { StoreVerifier(metadata: metadata, blobs: blobs) }

    func importer(
        _ source: SourceRegistry,
        _ selection: ImportSelection,
        workers: Int,
        progress: @escaping @Sendable (ImportCounts) -> Void
    ) async throws -> Importer {
        Importer(
            from: source,
            into: try await registry(nil),
            authorizer: Authorizer(),
            selection,
            workers: workers,
            logger: logger,
            progress: progress
        )
    }

    func objectCheck() -> ObjectCheck {
        // Files answer at once; a bucket answers late, but many at a time.
        let concurrency = configuration.blobs == .files ? 16 : min(256, configuration.s3.connections)
        return ObjectCheck(metadata: metadata, blobs: blobs, concurrency: concurrency)
    }
}
