import ArgumentParser
import Housekeeping
import Logging

struct RestoreCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore-check",
        abstract: "Ask the blob store for every object that the database names.",
        discussion: """
            For any pair of stores, best before a restored database is opened for traffic. Reads no content and \
            changes nothing; 'strata verify' hashes it all. Exits with 1 if an object is missing or has another size.

            EXAMPLES
              strata restore-check --config /etc/strata.yaml
              strata restore-check --data /srv/strata --json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Print the report as a JSON object.")
    var json = false

    func run() async throws {
        let configuration = try options.load()
        if configuration.metadata == .sqlite { try DataFolder(configuration).requireRegistry() }
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        let bar = ProgressBar(unless: json)
        let report = try await Composition.with(configuration, logger: logger) { composition in
            try await composition.objectCheck().run { done, total in bar?.show(done, of: total) }
        }
        bar?.finish()
        if json { try printJSON(report) } else { show(report) }
        if !report.findings.isEmpty { throw ExitCode(1) }
    }

    private func show(_ report: ObjectCheckReport) {
        for finding in report.findings {
            let found = finding.found.map { "has \($0) bytes instead of" } ?? "is not there,"
            let users = finding.manifests.isEmpty ? "no manifest" : finding.manifests.joined(separator: ", ")
            print(
                "\(finding.kind): \(finding.digest): \(finding.path) \(found) \(finding.size) bytes; listed by \(users)"
            )
        }
        let outcome = report.findings.isEmpty ? "all there." : "\(report.findings.count) findings."
        print("\(report.objects) objects, \(report.bytes) bytes: \(outcome)")
        if !report.isComplete { print("The check ended early: so much is missing that it may be the wrong store.") }
    }
}
