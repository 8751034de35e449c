import ArgumentParser
import Foundation
import Housekeeping
import Metadata

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Hash everything again and check every invariant.",
        discussion: """
            May run while the registry serves. Exits with 1 if it finds anything wrong. With --repair, whatever the
            collector does not know of is given to it: what nothing refers to and nobody was told to look at, and objects
            that no row has known for a week. Nothing else is changed.

            EXAMPLES
              strata verify --data /srv/strata
              strata verify --data /srv/strata --json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Print the report as a JSON object.")
    var json = false

    @Flag(help: "Tell the collector of what it does not know.")
    var repair = false

    func run() async throws {
        let bar = ProgressBar(unless: json)
        let report = try await options.withStores { composition in
            try await composition.verifier().run(repair: repair) { done, total in bar?.show(done, of: total) }
        }
        bar?.finish()
        if json {
            try printJSON(report)
        } else {
            for finding in report.findings { print("\(finding.kind): \(finding.subject): \(finding.detail)") }
            print(
                "\(report.blobs) blobs and \(report.manifests) manifests, \(report.bytes) bytes: "
                    + (report.findings.isEmpty ? "all well." : "\(report.findings.count) findings.")
                    + (report.repaired == 0 ? "" : " The collector was told of \(report.repaired) things.")
            )
        }
        if !report.findings.isEmpty { throw ExitCode(1) }
    }
}
