import ArgumentParser
import Logging
import Metadata

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Bring the database's schema up to date. 'serve' does it by itself.",
        discussion: """
            EXAMPLES
              strata migrate --data /srv/strata
            """
    )

    @OptionGroup var options: ConfigurationOptions

    func run() async throws {
        let configuration = try options.load()
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        let ran = try await Composition.with(configuration, logger: logger) { try await $0.metadata.migrate() }
        print(ran.isEmpty ? "The schema is up to date." : "Applied: " + ran.joined(separator: ", "))
    }
}
