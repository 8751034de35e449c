import ArgumentParser
import Foundation
import HTTPAPI
import Housekeeping
import Logging
import Metadata
import NIOCore
import RegistryCore
import UnixSignals

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the registry.",
        discussion: """
            Stops on SIGTERM or SIGINT: takes no more connections and lets the requests in flight finish. Reads the \
            certificate again on SIGHUP, and by itself within seconds of a change.

            EXAMPLES
              strata serve
              strata serve --data /srv/strata --listen 127.0.0.1:5000
              strata serve --config strata.yaml --set log.format=json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    /// How often the certificate's files are looked at.
    private static let certificateInterval = Duration.seconds(5)

    func run() async throws {
        let configuration = try options.load()
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        try Composition.folderCheckup(configuration)?.run().throwFatal()
        if configuration.usesDataFolder {
            // A server that is stopping lets requests finish for as long as this one would, and needs a moment besides.
            let patience = configuration.http.drainTimeout + .seconds(5)
            try await DataFolder(configuration).lock(patience: patience, logger)
        }
        try await Composition.with(configuration, logger: logger) { try await Self.serve($0, configuration, logger) }
    }

    private static func serve(_ composition: Composition, _ configuration: Configuration, _ logger: Logger) async throws
    {
        let certificates = try configuration.certificates()
        let downloads = try composition.downloads()
        try await prepare(composition, logger)
        let registry = try await composition.registry(downloads)
        let readiness = composition.readiness()
        let server = composition.server(registry, readiness, certificates)
        let stop = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        try await withThrowingTaskGroup(of: Void.self) { group in
            if let certificates {
                let hangUps = await UnixSignalsSequence(trapping: .sighup)
                group.addTask { for await _ in hangUps { reload(certificates, force: true, logger) } }
                group.addTask {
                    while true {
                        try await Task.sleep(for: certificateInterval)
                        reload(certificates, force: false, logger)
                    }
                }
            }
            group.addTask { await readiness.run() }
            group.addTask {
                await registry.pulls.run { error in
                    logger.warning("pulls are not written down yet", metadata: ["error": "\(error)"])
                }
            }
            if configuration.collection.isEnabled {
                let collector = composition.collectorService()
                group.addTask { await collector.run() }
            }
            if configuration.retention.isEnabled {
                let retention = composition.retentionService()
                group.addTask { await retention.run() }
            }
            try await server.run(
                host: configuration.listen.host.text,
                port: configuration.listen.port,
                onListening: { greet(configuration, $0) },
                until: {
                    for await _ in stop { return }
                }
            )
            group.cancelAll()
        }
        do {
            try await registry.pulls.flush()
        } catch {
            // The stop is as orderly as it can be; a supervisor that was told of a failure could do nothing about it.
            logger.warning("the last pulls are not counted", metadata: ["error": "\(error)"])
        }
    }

    /// Brings the schema up to date, and does not return where nothing could be served.
    private static func prepare(_ composition: Composition, _ logger: Logger) async throws {
        var found = await composition.databaseCheckup().engine()
        try found.throwFatal()
        let ran = try await composition.metadata.migrate { logger.notice("another node changes the schema; waiting") }
        if !ran.isEmpty { logger.notice("schema migrated", metadata: ["migrations": "\(ran.joined(separator: ", "))"]) }
        found.append(await composition.databaseCheckup().plans())
        try found.throwFatal()
        found += await composition.blobStoreCheckup(readingURL: false).run()
        try found.throwFatal()
        for diagnosis in found where diagnosis.advice != nil {
            let level: Logger.Level = diagnosis.state == .problem ? .error : .warning
            logger.log(level: level, "not as it should be", metadata: ["finding": "\(diagnosis)"])
        }
    }

    private static func reload(_ certificates: CertificateStore, force: Bool, _ logger: Logger) {
        do {
            if try certificates.reload(force: force) { logger.notice("certificate reloaded") }
        } catch {
            logger.error("the new certificate cannot be used; the old one stays", metadata: ["error": "\(error)"])
        }
    }

    private static func greet(_ configuration: Configuration, _ address: SocketAddress?) {
        let port = address?.port ?? configuration.listen.port
        let local = "\(configuration.listen.host):\(port)"
        let host = configuration.externalURL.map { "\($0.host)" + ($0.port.map { ":\($0)" } ?? "") } ?? local
        let scheme = configuration.tls.files == nil ? "http" : "https"
        let folder = URL(fileURLWithPath: configuration.data).path
        let metadata = configuration.metadata == .sqlite ? folder : "PostgreSQL"
        let blobs = configuration.blobs == .files ? folder : "the bucket \(configuration.s3.bucket ?? "")"
        let data = metadata == blobs ? folder : "\(metadata) and \(blobs)"
        let text = """
            Strata \(Version.current) listens on \(scheme)://\(local)
            Data lies in \(data)
            Push a first image: docker tag IMAGE \(host)/IMAGE && docker push \(host)/IMAGE

            """
        FileHandle.standardOutput.write(Data(text.utf8))
    }
}
