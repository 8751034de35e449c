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
            found = error.problems.map {
                .problem("configuration", "\($0)", "See docs/configuration.md")
            }
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
        var found: [Diagnosis] = [.ok("configuration", "it can be served")]
        if let folder = Composition.folderCheckup(configuration) {
            found += folder.run()
            guard folder.exists else {
                return found + [.skipped("stores", "they are made at the first start")]
            }
            if found.contains(where: { !$0.permitsServing }) { return found }
        }
        return found + (try await stores(configuration, logger))
    }

    private static func stores(_ configuration: Configuration, _ logger: Logger) async throws -> [Diagnosis] {
        do {
            return try await Composition.with(configuration, logger: logger) { composition in
                let database = composition.databaseCheckup()
                let (engine, isCurrent) = (await database.engine(), await database.isCurrent())
                guard isCurrent else {
                    return engine + [
                        .skipped("query plans, blob store", "they need the current schema in a database that works")
                    ]
                }
                let plans = await database.plans()
                return engine + [plans] + (await composition.blobStoreCheckup(readingURL: true).run())
            }
        } catch let error as ConfigurationError {
            return error.problems.map { .problem("configuration", "\($0)", "See docs/configuration.md") }
        } catch {
            return [.problem("stores", "they cannot be opened: \(error)", "See to the file or folder that it names")]
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
