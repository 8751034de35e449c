import ArgumentParser
import Foundation
import LoadGenerator

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Put load on a registry over plain HTTP and measure it.",
        discussion: """
            Scenarios that read manifests or lists need 'seed' first.

            SCENARIOS
            \(Scenario.allCases.map { "  \($0.rawValue): \($0.summary)" }.joined(separator: "\n"))

            EXAMPLES
              strata bench --scenario push-blob --size 41943040 --workers 8 --seconds 10
              strata bench --scenario seed && strata bench --scenario get-manifest-by-tag --workers 32 --json
            """
    )

    @Option(help: "The registry.")
    var url = "http://127.0.0.1:5000"

    @Option(help: "What to do.")
    var scenario = Scenario.pushBlob

    @Option(help: ArgumentHelp("Connections at a time; several numbers make several runs.", valueName: "n,n,…"))
    var workers = "8"

    @Option(help: "How long a run lasts, in seconds.")
    var seconds = 5

    @Option(help: "How many operations a run does, instead of a time.")
    var operations: Int?

    @Option(help: "Bytes of a blob.")
    var size = 1024

    @Option(help: "Manifests that 'seed' pushes, each with a tag.")
    var manifests = 1000

    @Option(help: "Repositories that it spreads them over.")
    var repositories = 1

    @Option(help: "What the names of its repositories begin with.")
    var prefix = "bench"

    @Option(help: "What 'get-path' gets and 'put-path' puts to.")
    var path = "/"

    @Option(help: "The server's process, to measure its CPU time and memory.")
    var pid: [Int32] = []

    @Flag(help: "Print a JSON object for each run.")
    var json = false

    func run() async throws {
        let counts = try workers.split(separator: ",").map { text in
            guard let count = Int(text), count > 0 else {
                throw ValidationError("--workers takes whole numbers above 0, such as 1,8,50.")
            }
            return count
        }
        let corpus = try Corpus(prefix: prefix, repositories: repositories, manifests: manifests)
        let material = Material(blobSize: size, corpus: corpus, path: path)
        var failed = false
        for count in counts {
            let run = LoadRun(
                scenario,
                of: material,
                against: try Endpoint(parsing: url),
                workers: count,
                limit: operations.map { .operations($0) } ?? .time(.seconds(seconds)),
                processes: pid
            )
            let measurement = try run.measure()
            try show(measurement)
            failed = failed || measurement.errors > 0
        }
        if failed { throw ExitCode(1) }
    }

    private func show(_ measurement: LoadGenerator.Measurement) throws {
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            print(String(decoding: try encoder.encode(measurement), as: UTF8.self))
            return
        }
        func rounded(_ value: Double) -> String {
            value.formatted(.number.precision(.significantDigits(3)).grouping(.never))
        }
        var line =
            "\(measurement.scenario), \(measurement.workers) workers: \(rounded(measurement.operationsPerSecond))/s"
        line += ", \(rounded(measurement.megabytesPerSecond)) MB/s, p50 \(rounded(measurement.latency.p50)) ms"
        line += ", p99 \(rounded(measurement.latency.p99)) ms"
        if let server = measurement.server {
            line += ", server \(rounded(server.cpuMillisecondsPerOperation)) ms CPU each"
            line +=
                ", \(rounded(server.cpuSecondsPerGigabyte)) CPU-s/GB, peak \(server.peakResidentBytes / 1_000_000) MB"
        }
        if measurement.errors > 0 { line += ", \(measurement.errors) ERRORS, first: \(measurement.firstError ?? "")" }
        print(line)
    }
}

extension Scenario: ExpressibleByArgument {}
