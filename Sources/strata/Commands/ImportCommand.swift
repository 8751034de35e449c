import ArgumentParser
import Foundation
import Importing
import Logging
import Metadata
import OCI
import Synchronization

struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Bring the content of another registry here.",
        discussion: """
            Asks first what is here, so that it can be stopped at any time and run again: a second run does only what is \
            missing. May run while the registry serves. Exits with 1 if anything could not be imported.

            The user and the password may also come from the environment, as IMPORT_USER and IMPORT_PASSWORD.

            EXAMPLES
              strata import --from https://old.example.com --data /srv/strata
              strata import --from https://old.example.com --repository 'team/*' --tag 'v*' --keep-tags
              strata import --from https://registry-1.docker.io --repository library/debian --tag '12*' --into hub
            """
    )

    @Option(help: ArgumentHelp("The registry to import from.", valueName: "url"))
    var from: String

    @Option(help: ArgumentHelp("Only repositories that match; may be repeated. * is any text.", valueName: "glob"))
    var repository: [String] = []

    @Option(help: ArgumentHelp("Only tags that match; may be repeated. * is any text.", valueName: "glob"))
    var tag: [String] = []

    @Option(help: ArgumentHelp("What the names of repositories get before them here.", valueName: "prefix"))
    var into: String?

    @Flag(help: "Leave tags that exist here as they are, even if the source's name something else.")
    var keepTags = false

    @Option(help: "Who to be at the source.")
    var user: String?

    @Option(help: ArgumentHelp("A file that holds the password.", valueName: "file"))
    var passwordFile: String?

    @Option(help: ArgumentHelp("Also trust the authorities in this PEM file.", valueName: "file"))
    var caFile: String?

    @Option(help: "Blobs that are downloaded at a time.")
    var workers = 8

    @Flag(help: "Allow http:// to other machines: everybody on the way can read the password.")
    var insecure = false

    @Flag(help: "Print the report as a JSON object.")
    var json = false

    @OptionGroup var options: ConfigurationOptions

    /// Most workers: more would wait for the disk.
    private static let maximumWorkers = 256

    func run() async throws {
        let configuration = try options.load()
        let credentials = try credentials(ProcessInfo.processInfo.environment)
        let selection = try selection()
        let url = try sourceURL()
        let line = json || isatty(STDERR_FILENO) == 0 ? nil : ImportProgressLine()
        var logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        // A line that moves and lines that stay do not go together.
        if line != nil { logger.logLevel = max(logger.logLevel, .warning) }
        let settings = SourceConfiguration(
            url: url,
            credentials: credentials,
            authorities: caFile,
            // Downloads, walks and requests for tokens.
            connections: 3 * workers
        )
        let report = try await Composition.with(configuration, logger: logger) { composition in
            try await Self.prepare(composition.metadata)
            return try await SourceRegistry.with(settings, logger: logger) { source in
                defer { line?.finish() }
                let importer = try await composition.importer(source, selection, workers: workers) { line?.show($0) }
                return try await importer.run()
            }
        }
        try show(report)
        if report.failureCount > 0 { throw ExitCode(1) }
    }

    /// Makes a registry where there is none, to be filled; upgrades none that serves.
    private static func prepare(_ metadata: MetadataStore) async throws {
        do {
            try await metadata.requireCurrentSchema()
        } catch SchemaError.older(found: 0, known: _) {
            try await metadata.migrate()
        }
    }

    func validate() throws {
        guard (1...Self.maximumWorkers).contains(workers) else {
            throw ValidationError("--workers takes a whole number from 1 to \(Self.maximumWorkers).")
        }
        _ = try sourceURL()
        if let caFile, !FileManager.default.isReadableFile(atPath: caFile) {
            throw ValidationError("The file \(caFile) that --ca-file names is missing or not readable.")
        }
    }

    private func sourceURL() throws -> String {
        guard let url = ExternalURL(from.hasSuffix("/") ? from.dropLast() : from[...]) else {
            throw ValidationError("--from takes http:// or https://, a host and perhaps a port.")
        }
        guard url.scheme == .https || url.host.isLoopback || insecure else {
            throw ValidationError("\(url) is not encrypted; use https://, or allow it with --insecure.")
        }
        return url.description
    }

    private func selection() throws -> ImportSelection {
        ImportSelection(
            repositories: repository.map { Glob($0) },
            tags: tag.map { Glob($0) },
            prefix: try into.map { try RepositoryName(parsing: $0) },
            keepsTags: keepTags
        )
    }

    private func credentials(_ environment: [String: String]) throws -> SourceCredentials? {
        guard let user = user ?? environment["IMPORT_USER"], !user.isEmpty else {
            guard passwordFile == nil else { throw ValidationError("--password-file goes with --user.") }
            return nil
        }
        if let passwordFile {
            guard let text = try? String(contentsOfFile: passwordFile, encoding: .utf8) else {
                throw Refusal("The file \(passwordFile) that --password-file names is missing or not readable as text.")
            }
            return SourceCredentials(user: user, password: String(text.prefix { !$0.isNewline }))
        }
        guard let password = environment["IMPORT_PASSWORD"] else {
            throw ValidationError("\(user) needs a password: --password-file, or IMPORT_PASSWORD in the environment.")
        }
        return SourceCredentials(user: user, password: password)
    }

    private func show(_ report: ImportReport) throws {
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
            return
        }
        let counts = report.counts
        print(
            """
            \(counts.repositories) repositories, \(counts.tags) tags: \(counts.tagsImported) imported, \
            \(counts.tagsUnchanged) there already, \(counts.tagsKept) kept.
            \(counts.manifestsCopied) manifests copied, \(counts.manifestsPresent) there already.
            \(counts.blobsCopied) blobs copied (\(counts.bytesCopied) bytes), \(counts.blobsMounted) mounted, \
            \(counts.blobsPresent) there already.
            """
        )
        if counts.externalBlobsCopied + counts.blobsElsewhere > 0 {
            print(
                "\(counts.externalBlobsCopied) foreign layers copied; \(counts.blobsElsewhere) lie elsewhere, "
                    + "as the source does not hold them either."
            )
        }
        show(report.missing, of: report.missingCount, "listed by the source, which does not hold them:")
        show(report.failures, of: report.failureCount, "FAILED:")
    }

    private func show(_ gaps: [ImportGap], of count: Int, _ title: String) {
        guard count > 0 else { return }
        print("\(count) \(title)")
        for gap in gaps { print("  \(gap)") }
        if count > gaps.count { print("  and \(count - gaps.count) more") }
    }
}

/// One line on standard error that says how far an import is.
private final class ImportProgressLine: Sendable {
    private let next = Mutex(ContinuousClock.now)
    /// Time between two changes of the line.
    private static let interval = Duration.milliseconds(200)

    func show(_ counts: ImportCounts) {
        let isDue = next.withLock { next in
            guard next <= .now else { return false }
            next = .now + Self.interval
            return true
        }
        guard isDue else { return }
        write(
            "\r\u{1B}[Krepositories \(counts.repositories)/\(counts.repositoriesFound), tags \(counts.tags)/"
                + "\(counts.tagsFound), blobs \(counts.blobsCopied) (\(counts.bytesCopied / 1_000_000) MB)"
        )
    }

    func finish() { write("\r\u{1B}[K") }

    private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
