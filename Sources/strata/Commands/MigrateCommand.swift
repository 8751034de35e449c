import ArgumentParser
import Logging
import Metadata

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Bring the database's schema up to date. 'serve' does it by itself.",
        discussion: """
            Nodes of the previous release may serve meanwhile.

            EXAMPLES
              strata migrate --data /srv/strata
            """
    )

    @OptionGroup var options: ConfigurationOptions

    func run() async throws {
        let configuration = try options.load()
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        let ran = try await Composition.with(configuration, logger: logger) { composition in
            try await composition.metadata.migrate { logger.notice("another node changes the schema; waiting") }
        }
        print(ran.isEmpty ? "The schema is up to date." : "Applied: " + ran.joined(separator: ", "))
    }
}
