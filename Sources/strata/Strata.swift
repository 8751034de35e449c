import ArgumentParser

@main
struct Strata: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "strata",
        abstract: "A registry for container images and other OCI artifacts.",
        discussion: """
            EXAMPLES
              strata serve --data ./strata-data --listen 127.0.0.1:5000
              strata verify --data ./strata-data
              strata config print --json
            """,
        version: Version.current,
        subcommands: [
            ServeCommand.self, DoctorCommand.self, ImportCommand.self, VerifyCommand.self, CollectCommand.self,
            RetentionCommand.self, HoldCommand.self, UndeleteCommand.self, BackupCommand.self, RestoreCommand.self,
            RestoreCheckCommand.self, MigrateCommand.self, ConfigCommand.self, BenchCommand.self, VersionCommand.self,
        ]
    )
}
