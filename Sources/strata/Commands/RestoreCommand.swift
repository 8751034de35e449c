import ArgumentParser
import Housekeeping

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Make a data folder from a backup.",
        discussion: """
            The data folder must be empty or missing. The backup stays as it is.

            EXAMPLES
              strata restore --from /mnt/backup/strata --data /srv/strata
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: ArgumentHelp("The folder that 'strata backup' wrote.", valueName: "folder"))
    var from: String

    @Flag(help: "Print the report as a JSON object.")
    var json = false

    func run() async throws {
        let composition = try BackupComposition(try options.load())
        let bar = ProgressBar(unless: json)
        let report = try await composition.restore(from: from).run { done, total in bar?.show(done, of: total) }
        bar?.finish()
        if json { return try printJSON(report) }
        print(
            """
            Restored \(report.objects) objects, \(report.bytes) bytes, into \(composition.dataPath).
            What to do now:
              1. Give the folder to the server's user, if that is another: chown -R USER \(composition.dataPath)
              2. Hash everything again: strata verify --data \(composition.dataPath)
              3. Start without rules: strata serve --data \(composition.dataPath) --set retention.enabled=false
                 To rules, pulls are as old as the backup: switch them on again when clients have pulled what they use,
                 or when you have read what they would delete, in 'strata retention preview'.
            What was pushed after the backup began is lost and must be pushed again; uploads begin anew.
            """
        )
    }
}
