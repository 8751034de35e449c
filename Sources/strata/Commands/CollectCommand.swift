import ArgumentParser
import Foundation
import Housekeeping
import Metadata
import OCI

struct CollectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Reclaim what nothing refers to any more, and say why something is or is not alive.",
        discussion: """
            `strata serve` collects by itself. These commands may run beside it, on the same configuration.
            """,
        subcommands: [Run.self, Status.self, Explain.self]
    )

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Work off everything that is due now.",
            discussion: """
                What was deleted a moment ago is not due yet: promises to clients and the times of `promises.*` hold.

                EXAMPLES
                  strata gc run --data /srv/strata
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Flag(help: "Print what was done as a JSON object.")
        var json = false

        func run() async throws {
            let report = try await options.withStores { try await $0.collector(.unlimited, nil).run() }
            if json { return try printJSON(report) }
            print(
                """
                removed \(report.manifests.removed + report.repositories.removed) manifests, \(report.blobs.removed) blobs, \
                \(report.sessions.removed) upload sessions and \(report.objects.removed) objects: \(report.bytes) bytes
                """
            )
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show how far behind the collector is.")

        @OptionGroup var options: ConfigurationOptions

        @Flag(help: "Print a JSON object; times are milliseconds.")
        var json = false

        func run() async throws {
            let status = try await options.withStores { try await $0.metadata.countedStatus() }
            if json { return try printJSON(status) }
            for queue in CollectionStatus.Queue.allCases {
                let lag = (status.lag[queue] ?? 0) / 1000
                print("\(queue.rawValue): \(lag == 0 ? "nothing has waited" : "the oldest has waited for \(lag) s")")
            }
            print("trash: \(status.pendingObjects) objects, \(status.pendingBytes) bytes")
            if status.oldestTrash >= 1000 {
                print(
                    "the oldest object could have been deleted for \(status.oldestTrash / 1000) s; the log says if the store refuses"
                )
            }
        }
    }

    struct Explain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say why a blob or a manifest is alive, or since when it is not and when its bytes go.",
            discussion: """
                EXAMPLES
                  strata gc explain sha256:4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a
                """
        )

        @Argument(help: "A digest.")
        var digest: String

        @OptionGroup var options: ConfigurationOptions

        @Flag(help: "Print a JSON object; times are milliseconds since 1970.")
        var json = false

        func run() async throws {
            let parsed: Digest
            do { parsed = try Digest(parsing: digest) } catch { throw ValidationError("\(error)") }
            let explanation = try await options.withStores { try await $0.metadata.explain(parsed) }
            try await inPlainWords {
                if explanation.isEmpty { throw RegistryError.nothingStored(of: parsed) }
            }
            if json { return try printJSON(explanation) }
            for line in ExplanationText(explanation).lines { print(line) }
        }
    }
}
