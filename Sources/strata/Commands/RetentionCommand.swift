import ArgumentParser
import Foundation
import Metadata
import OCI
import Retention

struct RetentionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retention",
        abstract: "Say what is kept and what is deleted, and see beforehand what that means.",
        discussion: """
            A policy is a JSON document that holds in a scope: `registry`, `namespace/PATH` or `repository/NAME`; \
            docs/retention.md says what it may contain. `strata serve` applies the policies by itself. These commands may \
            run beside it, on the same configuration.

            EXAMPLES
              strata retention set repository/team/app policy.json
              strata retention preview team/app
              strata retention preview team/app --policy policy.json
            """,
        subcommands: [Preview.self, Apply.self, History.self, List.self, Show.self, Set.self, Remove.self]
    )

    struct Preview: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show for each tag which rule keeps or deletes it, and what would be freed. Changes nothing."
        )

        @Argument(help: "A repository.") var repository: RepositoryName

        @Option(help: "A file with a policy to try in place of the one that the repository itself has.")
        var policy: String?

        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "Print a JSON object; times are milliseconds since 1970.") var json = false

        func run() async throws {
            let trial = try policy.map {
                ScopedPolicy(scope: .repository(repository), version: 0, policy: try PolicyFile.read($0))
            }
            let plan = try await options.withStores { stores in
                try await inPlainWords { try await stores.retentionPlan(of: repository, trying: trial) }
            }
            guard let plan else { throw Refusal("No policy holds in \(repository).") }
            if json { return try printJSON(plan) }
            for line in RetentionPlanText(plan).lines { print(line) }
        }
    }

    struct Apply: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete now what the policies say of a repository.",
            discussion: "What is deleted can be put back with `strata undelete` until its bytes are due."
        )

        @Argument(help: "A repository.") var repository: RepositoryName
        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "Print a JSON object.") var json = false

        func run() async throws {
            let run = try await options.withStores { stores in
                try await inPlainWords {
                    try await stores.retentionPlan(of: repository).asyncMap {
                        try await stores.metadata.apply($0, cause: "request")
                    }
                }
            }
            guard let run else { throw Refusal("No policy holds in \(repository).") }
            if json { return try printJSON(run) }
            print("deleted \(run.tags) tags and \(run.manifests) untagged manifests; \(run.bytes) bytes will be freed")
        }
    }

    struct History: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List what the policies deleted in a repository.")

        @Argument(help: "A repository.") var repository: RepositoryName
        @Option(help: "How many of the last runs.") var last = 20
        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "Print a JSON array; times are milliseconds since 1970.") var json = false

        func run() async throws {
            let runs = try await options.withStores {
                try await $0.metadata.retentionRuns(of: repository, before: nil, limit: max(1, min(last, 1000)))
            }
            if json { return try printJSON(runs) }
            for run in runs {
                print(
                    "\(run.startedAt.shownAsTime) by \(run.cause): \(run.tags) tags, \(run.manifests) untagged "
                        + "manifests, \(run.bytes) bytes; \(run.policies.joined(separator: ", "))"
                )
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the policies of all scopes.")

        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let policies = try await options.withStores { stores in
                var all: [PolicyVersion] = []
                while true {
                    let page = try await stores.metadata.policies(
                        after: all.last.map { "\($0.scope)" } ?? "",
                        limit: 1000
                    )
                    if page.isEmpty { return all }
                    all += page
                }
            }
            for stored in policies {
                print("\(stored.scope): version \(stored.version), set at \(stored.createdAt.shownAsTime)")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print the policy of a scope.")

        @Argument(help: "registry, namespace/PATH or repository/NAME.") var scope: RetentionScope
        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let stored = try await options.withStores { try await $0.metadata.policy(of: scope) }
            guard let policy = stored?.policy else { throw Refusal("There is no policy of \(scope).") }
            print(policy.canonical, terminator: "")
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Set the policy of a scope.")

        @Argument(help: "registry, namespace/PATH or repository/NAME.") var scope: RetentionScope
        @Argument(help: "A file with the policy; - for the standard input.") var file: String
        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let policy = try PolicyFile.read(file)
            let stored = try await options.withStores { try await $0.metadata.setPolicy(policy, of: scope) }
            print("version \(stored.version) of the policy of \(scope)")
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove the policy of a scope.")

        @Argument(help: "registry, namespace/PATH or repository/NAME.") var scope: RetentionScope
        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let removed = try await options.withStores { stores in
                guard try await stores.metadata.policy(of: scope) != nil else { return false }
                _ = try await stores.metadata.setPolicy(nil, of: scope)
                return true
            }
            guard removed else { throw Refusal("There is no policy of \(scope).") }
            print("there is no policy of \(scope) any more")
        }
    }
}

extension Optional {
    fileprivate func asyncMap<Result>(_ body: (Wrapped) async throws -> Result) async rethrows -> Result? {
        if let self { try await body(self) } else { nil }
    }
}

private enum PolicyFile {
    static func read(_ path: String) throws -> RetentionPolicy {
        let name = path == "-" ? "standard input" : path
        let data: Data
        do {
            data =
                path == "-"
                ? try FileHandle.standardInput.readToEnd() ?? Data() : try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw Refusal("\(name) cannot be read.")
        }
        do { return try RetentionPolicy(decoding: data) } catch { throw Refusal("\(name): \(error)") }
    }
}

extension RepositoryName: ExpressibleByArgument {
    package init?(argument: String) { try? self.init(parsing: argument) }
}

extension RetentionScope: ExpressibleByArgument {
    package init?(argument: String) { try? self.init(parsing: argument) }
}
