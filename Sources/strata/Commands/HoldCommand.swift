import ArgumentParser
import Metadata
import OCI
import Retention

struct HoldCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hold",
        abstract: "Keep manifests and tags whatever rules and people want to delete.",
        discussion: """
            What a hold is on cannot be deleted until the hold is released; a legal hold also keeps tags where they are. \
            These commands may run beside the server, on the same configuration.

            EXAMPLES
              strata hold set team/app 'prod-*' --reason 'runs in production'
              strata hold set team/app 'v1.*' --kind legal --reason 'case 7'
              strata hold list team/app
              strata hold release team/app 1
            """,
        subcommands: [Set.self, List.self, Release.self]
    )

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set a hold; one of the same kind on the same subject gets the new reason."
        )

        @Argument(help: "A repository.") var repository: RepositoryName
        @Argument(help: "A digest, a pattern of tags with * and ?, or a regular expression between slashes.")
        var subject: RetentionHold.Subject

        @Option(help: "in-use, or legal, which also stops pushes from moving tags.")
        var kind = RetentionHold.Kind.inUse

        @Option(help: "Why; whoever wants to delete it is told so.")
        var reason: String

        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "Print a JSON object; times are milliseconds since 1970.") var json = false

        func validate() throws {
            if let fault = RetentionHold.fault(ofReason: reason) { throw ValidationError(fault) }
        }

        func run() async throws {
            let hold = RetentionHold(kind: kind, subject: subject, reason: reason)
            let stored = try await options.withStores { stores in
                try await inPlainWords { try await stores.metadata.setHold(hold, in: repository) }
            }
            if json { return try printJSON(stored) }
            print("\(stored.id): \(stored.hold)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the holds of a repository.")

        @Argument(help: "A repository.") var repository: RepositoryName
        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "Print a JSON object for each; times are milliseconds since 1970.") var json = false

        func run() async throws {
            let holds = try await options.withStores { stores in
                try await inPlainWords { try await stores.metadata.holds(in: repository, after: 0, limit: .max) }
            }
            for stored in holds {
                if json { try printJSON(stored) } else { print("\(stored.id): \(stored.hold)") }
            }
        }
    }

    struct Release: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Release a hold.",
            discussion: "After that the rules decide again, once the promised window is over."
        )

        @Argument(help: "A repository.") var repository: RepositoryName
        @Argument(help: "The number of the hold, as `strata hold list` tells it.") var id: Int64
        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            try await options.withStores { stores in
                try await inPlainWords { try await stores.metadata.releaseHold(id, in: repository) }
            }
            print("released the hold \(id)")
        }
    }
}

extension RetentionHold.Kind: ExpressibleByArgument {}

extension RetentionHold.Subject: ExpressibleByArgument {
    package init?(argument: String) { try? self.init(parsing: argument) }
}
