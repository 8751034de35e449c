import ArgumentParser
import Foundation
import Housekeeping
import Logging
import Metadata
import Synchronization

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Hash everything again and check every invariant.",
        discussion: """
            Changes nothing and may run while the registry serves. Exits with 1 if it finds anything wrong.

            EXAMPLES
              strata verify --data /srv/strata
              strata verify --data /srv/strata --json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Print the report as a JSON object.")
    var json = false

    func run() async throws {
        let configuration = try options.load()
        let composition = try Composition(
            configuration,
            logger: Logger(label: "strata") { _ in LogLines(configuration.log) }
        )
        try await composition.metadata.migrate()
        let bar = json || isatty(STDERR_FILENO) == 0 ? nil : ProgressBar()
        let report = try await composition.verifier().run { done, total in bar?.show(done, of: total) }
        bar?.finish()
        try await composition.shutdown()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            for finding in report.findings { print("\(finding.kind): \(finding.subject): \(finding.detail)") }
            print(
                "\(report.blobs) blobs and \(report.manifests) manifests, \(report.bytes) bytes: "
                    + (report.findings.isEmpty ? "all well." : "\(report.findings.count) findings.")
            )
        }
        if !report.findings.isEmpty { throw ExitCode(1) }
    }
}

/// One line on standard error that says how far a long task is.
private final class ProgressBar: Sendable {
    private let shown = Mutex(-1)
    private static let width = 40

    func show(_ done: Int, of total: Int) {
        let percent = total > 0 ? min(100, done * 100 / total) : 100
        let isNew = shown.withLock { shown in
            defer { shown = percent }
            return shown != percent
        }
        guard isNew else { return }
        let filled = percent * Self.width / 100
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
        FileHandle.standardError.write(Data("\r[\(bar)] \(percent)% \(done)/\(total)".utf8))
    }

    func finish() { FileHandle.standardError.write(Data("\n".utf8)) }
}
