import BlobStorage
import Foundation
import Logging
import NIOPosix
import SQLStore
import Telemetry

/// The engines behind the registry.
extension Composition {
    static func makeDatabase(_ configuration: Configuration, _ metrics: Metrics, _ logger: Logger) throws
        -> any SQLDatabase
    {
        switch configuration.metadata {
        case .sqlite: try makeSQLite(configuration, metrics)
        case .postgres: try makePostgres(configuration, metrics, logger)
        }
    }

    private static func makeSQLite(_ configuration: Configuration, _ metrics: Metrics) throws -> SQLiteDatabase {
        let batches = metrics.histogram(
            "strata_sql_commit_batch_size",
            help: "Writes that shared a commit.",
            bounds: [1, 2, 4, 8, 16, 32, 64]
        )
        let queue = metrics.gauge("strata_sql_write_queue", help: "Writes that wait for the next commit.")
        let folder = DataFolder(configuration)
        try folder.make()
        try folder.makeDatabase()
        return try SQLiteDatabase(
            path: folder.database,
            durability: configuration.durability == .full ? .full : .normal,
            observer: SQLiteDatabase.Observer(
                queued: { queue.set(Int64($0)) },
                committed: { batches.observe(Double($0)) }
            )
        )
    }

    private static func makePostgres(_ configuration: Configuration, _ metrics: Metrics, _ logger: Logger) throws
        -> PostgresDatabase
    {
        let load = metrics.gauge(
            "strata_sql_load",
            help: "Pieces of work at the database and waiting for a connection."
        )
        let retries = metrics.counter("strata_sql_retries_total", help: "Database work that was tried again.")
        let refusals = metrics.counter(
            "strata_sql_refusals_total",
            help: "Database work that was given up: too much was waiting, or its time was up."
        )
        let postgres = configuration.postgres
        return PostgresDatabase(
            PostgresDatabase.Settings(
                url: postgres.url ?? "",
                connections: postgres.connections,
                queue: postgres.maximumQueue,
                patience: postgres.patience,
                preparesStatements: postgres.preparesStatements,
                setsLimits: postgres.setsLimits
            ),
            observer: PostgresDatabase.Observer(
                load: { load.set(Int64($0)) },
                retried: { retries.add() },
                refused: { refusals.add() }
            ),
            logger: logger
        )
    }

    static func makeBlobStore(_ configuration: Configuration, _ threads: NIOThreadPool, _ logger: Logger) throws
        -> any BlobStore
    {
        switch configuration.blobs {
        case .files:
            let folder = DataFolder(configuration)
            try folder.make()
            return try FileBlobStore(
                root: folder.objects,
                threads: threads,
                syncs: configuration.durability == .full
            )
        case .s3:
            return S3BlobStore(
                S3Client(
                    S3Configuration(configuration.s3),
                    try S3CredentialSource(configuration.s3, ProcessInfo.processInfo.environment),
                    logger: logger
                )
            )
        }
    }
}

extension S3Configuration {
    init(_ chosen: Configuration.S3) {
        self.init(
            scheme: (chosen.endpoint?.scheme ?? .https).rawValue,
            host: chosen.endpoint?.host.description ?? "s3.\(chosen.region).amazonaws.com",
            port: chosen.endpoint?.port,
            region: chosen.region,
            bucket: chosen.bucket ?? "",
            prefix: chosen.prefix ?? "",
            usesPathStyle: chosen.style == .path,
            hasEqualParts: chosen.hasEqualParts,
            uploadMemory: chosen.uploadMemory,
            connections: chosen.connections
        )
    }
}

extension S3CredentialSource {
    /// - Parameter environment: of the process, with the variables that AWS's own tools read.
    /// - Throws: ``ConfigurationError`` if what was chosen is not there.
    init(_ chosen: Configuration.S3, _ environment: [String: String]) throws {
        let keys = chosen.accessKeyID.flatMap { id in
            chosen.secretAccessKey.map { S3Credentials(accessKeyID: id, secretAccessKey: $0) }
        }
        let variables = environment["AWS_ACCESS_KEY_ID"].flatMap { id in
            environment["AWS_SECRET_ACCESS_KEY"].map {
                S3Credentials(accessKeyID: id, secretAccessKey: $0, sessionToken: environment["AWS_SESSION_TOKEN"])
            }
        }
        let identity = environment["AWS_WEB_IDENTITY_TOKEN_FILE"].flatMap { file in
            environment["AWS_ROLE_ARN"].map { role in
                let endpoint = environment["AWS_ENDPOINT_URL_STS"] ?? "https://sts.\(chosen.region).amazonaws.com/"
                return S3CredentialSource.webIdentity(tokenFile: file, role: role, endpoint: endpoint)
            }
        }
        let instance = S3CredentialSource.instance(
            endpoint: environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] ?? "http://169.254.169.254"
        )
        let found: S3CredentialSource? =
            switch chosen.credentials {
            case .auto: keys.map { .fixed($0) } ?? variables.map { .fixed($0) } ?? identity ?? instance
            case .keys: keys.map { .fixed($0) }
            case .environment: variables.map { .fixed($0) }
            case .webIdentity: identity
            case .instance: instance
            }
        guard let found else {
            throw ConfigurationError(
                problems: [
                    .contradiction(
                        keys: ["s3.credentials"],
                        reason:
                            "s3.credentials = \(chosen.credentials.rawValue), but the environment variables that it "
                            + "takes them from are not set; 'strata config print' and the documentation name them."
                    )
                ]
            )
        }
        self = found
    }
}
