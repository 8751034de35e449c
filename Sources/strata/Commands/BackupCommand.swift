import ArgumentParser
import Housekeeping

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy the data folder while the registry serves.",
        discussion: """
            The copy is the registry at one moment. A further backup to the same folder copies only what is new, \
            and replaces the last one when it is whole; interrupted, it leaves the last one as it was. For metadata = \
            sqlite with blobs = files; docs/backup.md says what to do elsewhere.

            EXAMPLES
              strata backup --data /srv/strata --to /mnt/backup/strata
              strata backup --data /srv/strata --to /mnt/backup/strata --json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: ArgumentHelp("Keep the backup in this folder, best on another disk.", valueName: "folder"))
    var to: String

    @Flag(help: "Print the report as a JSON object.")
    var json = false

    func run() async throws {
        let backup = try BackupComposition(try options.load()).backup(to: to)
        let bar = ProgressBar(unless: json)
        let report = try await backup.run { done, total in bar?.show(done, of: total) }
        bar?.finish()
        if json { return try printJSON(report) }
        print(
            """
            \(report.objects) objects, \(report.bytes) bytes; of these \(report.copiedObjects) new, \
            \(report.copiedBytes) bytes. \(report.removedObjects) old ones removed.
            """
        )
    }
}
