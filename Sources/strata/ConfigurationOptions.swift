import ArgumentParser
import FoundationEssentials

/// The options with which every command that needs a configuration finds it.
struct ConfigurationOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Read this YAML file; otherwise the one that STRATA_CONFIG names.", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Keep everything in this folder (\(Self.standard("data"))).", valueName: "folder"))
    var data: String?

    @Option(help: ArgumentHelp("Accept connections here (\(Self.standard("listen"))).", valueName: "host:port"))
    var listen: String?

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp("Set any key; may be repeated. 'strata config print' lists them.", valueName: "key=value")
    )
    var assignments: [String] = []

    @Option(help: ArgumentHelp("Log lines from this level on (\(Self.standard("log.level"))).", valueName: "level"))
    var logLevel: String?

    @Option(help: ArgumentHelp("Log as text or json (\(Self.standard("log.format"))).", valueName: "format"))
    var logFormat: String?

    /// - Throws: ``ConfigurationError``.
    func load() throws -> Configuration { try loadWithSources().configuration }

    /// - Throws: ``ConfigurationError``.
    func loadWithSources(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> LoadedConfiguration {
        let named = [
            ("--data", "data", data), ("--listen", "listen", listen),
            ("--log-level", "log.level", logLevel), ("--log-format", "log.format", logFormat),
        ]
        return try LoadedConfiguration(
            file: config,
            environment: environment,
            assignments: assignments,
            options: named.compactMap { option, key, value in
                value.map { ConfigurationSetting(key: key, value: $0, source: .option(option)) }
            }
        )
    }

    private static func standard(_ key: String) -> String {
        "default: " + (ConfigurationKey.named(key)?.standard ?? "none")
    }
}
