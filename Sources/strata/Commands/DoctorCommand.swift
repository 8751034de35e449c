import ArgumentParser
import Foundation
import Housekeeping
import Logging

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check everything that can be wrong, and say what to do.",
        discussion: """
            Looks at the configuration, the database, the blob store and the data folder, and stores, reads and deletes a \
            few small objects. Leaves the schema as it is, and may run beside a registry that serves. Exits with 1 if \
            there is a problem.

            EXAMPLES
              strata doctor --config /etc/strata.yaml
              strata doctor --data /srv/strata --json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Print a JSON object.")
    var json = false

    /// How long a database that does not answer is waited for.
    private static let patience = Duration.seconds(3)

    func run() async throws {
        let found: [Diagnosis]
        do {
            found = try await Self.examine(try options.load())
        } catch let error as ConfigurationError {
            found = Self.diagnoses(error.problems)
        }
        try show(found)
        if found.contains(where: { $0.state == .problem }) { throw ExitCode(1) }
    }

    private static func examine(_ chosen: Configuration) async throws -> [Diagnosis] {
        var configuration = chosen
        configuration.postgres.patience = min(chosen.postgres.patience, patience)
        var log = configuration.log
        log.level = .error  // what is tried again is told once, when it has failed
        let logger = Logger(label: "strata") { [log] _ in LogLines(log) }
        let problems = try configuration.problemsOfFiles()
        let found = problems.isEmpty ? [.ok("configuration", "it can be served")] : diagnoses(problems)
        let folder = Composition.folderCheckup(configuration)
        let ofFolder = folder?.run() ?? []
        let isWritable = ofFolder.allSatisfy(\.permitsServing)
        // Nothing is made that a registry makes at its first start.
        let isMade =
            configuration.metadata == .sqlite ? DataFolder(configuration).holdsRegistry : folder?.exists ?? true
        if isWritable, isMade { return found + ofFolder + (try await stores(configuration, logger)) }
        let reason = isWritable ? "made at the first start" : "kept in the data folder"
        guard configuration.blobs == .s3 else { return found + ofFolder + [.skipped("stores", "they are \(reason)")] }
        let ofBucket = try await opening { try await Composition.bucketCheckup(configuration, logger: logger) }
        return found + ofFolder + [.skipped("database", "it is \(reason)")] + ofBucket
    }

    private static func diagnoses(_ problems: [ConfigurationProblem]) -> [Diagnosis] {
        problems.map { .problem("configuration", "\($0)", "See docs/configuration.md") }
    }

    /// What is said where a store cannot be opened at all.
    private static func opening(_ body: () async throws -> [Diagnosis]) async throws -> [Diagnosis] {
        do {
            return try await body()
        } catch let error as ConfigurationError {
            return diagnoses(error.problems)
        } catch {
            return [.problem("stores", "they cannot be opened: \(error)", "See to the file or folder that it names")]
        }
    }

    private static func stores(_ configuration: Configuration, _ logger: Logger) async throws -> [Diagnosis] {
        try await opening {
            try await Composition.with(configuration, logger: logger) { composition in
                let database = composition.databaseCheckup()
                let (engine, hasSchema) = (await database.engine(), await database.isCurrent())
                let plans =
                    hasSchema ? await database.plans() : .skipped("query plans", "they need the current schema")
                let checkup = composition.blobStoreCheckup(readingURL: true, hasSchema: hasSchema)
                return engine + [plans] + (await checkup.run())
            }
        }
    }

    private func show(_ found: [Diagnosis]) throws {
        guard json else {
            for diagnosis in found {
                let state = diagnosis.state.rawValue
                print(state.padding(toLength: 9, withPad: " ", startingAt: 0) + "\(diagnosis)")
            }
            return
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(["checks": found]), as: UTF8.self))
    }
}
