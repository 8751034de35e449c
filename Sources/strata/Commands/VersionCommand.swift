import ArgumentParser

struct VersionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the version.",
        discussion: """
            EXAMPLES
              strata version
              strata version --json
            """
    )

    @Flag(help: "Print a JSON object.")
    var json = false

    func run() async throws {
        print(json ? "{\"name\":\"strata\",\"version\":\"\(Version.current)\"}" : "strata \(Version.current)")
    }
}
