import ArgumentParser
import FoundationEssentials

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Show or check the configuration.",
        discussion: """
            Takes the same file, variables and options as 'strata serve', and starts nothing.

            EXAMPLES
              strata config print
              strata config print --config /etc/strata.yaml --json
              strata config check --config /etc/strata.yaml
            """,
        subcommands: [Print.self, Check.self, Docs.self]
    )

    struct Print: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "print",
            abstract: "Print every key, its value and where the value came from."
        )

        @OptionGroup var options: ConfigurationOptions

        @Flag(help: "Print a JSON object: key to value and source.")
        var json = false

        func run() async throws {
            let loaded = try options.loadWithSources()
            print(json ? try loaded.json() : loaded.table())
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Check the configuration; exit status 1 and a list of what is wrong if it cannot be used."
        )

        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let problems = try options.load().problemsOfFiles()
            guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
            print("The configuration is right.")
        }
    }

    struct Docs: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "docs",
            abstract: "Print docs/configuration.md.",
            shouldDisplay: false
        )

        func run() async throws { print(ConfigurationDocumentation.markdown, terminator: "") }
    }
}

extension LoadedConfiguration {
    /// A line a key: name, value and source, in columns.
    func table() -> String {
        let rows = ConfigurationKey.all.map { ($0.name, $0.text(in: configuration), source(of: $0).description) }
        let widths = (rows.map(\.0.count).max() ?? 0, rows.map(\.1.count).max() ?? 0)
        return rows.map { name, value, source in
            "\(padded(name, to: widths.0))  \(padded(value, to: widths.1))  \(source)"
        }.joined(separator: "\n")
    }

    /// An object of keys, each an object of `value` and `source`.
    func json() throws -> String {
        let entries = try ConfigurationKey.all.map { key in
            let text = key.text(in: configuration)
            let value = key.isLiteral ? text : try quoted(text)
            return "  \(try quoted(key.name)): {\"value\": \(value), \"source\": \(try quoted("\(source(of: key))"))}"
        }
        return "{\n" + entries.joined(separator: ",\n") + "\n}"
    }

    private func padded(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private func quoted(_ text: String) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        return String(decoding: try encoder.encode(text), as: UTF8.self)
    }
}
