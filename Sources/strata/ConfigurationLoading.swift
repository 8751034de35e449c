/// A configuration and where each of its values came from.
struct LoadedConfiguration: Sendable {
    let configuration: Configuration
    private let sources: [String: ConfigurationSource]

    /// Later settings win over earlier ones. Throws a ``ConfigurationError`` of every problem, the earlier ones first.
    private init(applying settings: [ConfigurationSetting], besides earlier: [ConfigurationProblem]) throws {
        var configuration = Configuration()
        var sources: [String: ConfigurationSource] = [:]
        var problems = earlier
        for setting in settings {
            guard let key = ConfigurationKey.named(setting.key) else {
                problems.append(setting.unknownKey)
                continue
            }
            sources[key.name] = setting.source
            guard !key.set(setting.value, in: &configuration) else { continue }
            problems.append(
                .wrongValue(key: key.name, value: setting.value, source: setting.source, expected: key.expected)
            )
        }
        // A contradiction with a default that stands for a wrong value would only confuse.
        if problems.isEmpty { problems = configuration.contradictions }
        guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
        self.configuration = configuration
        self.sources = sources
    }

    func source(of key: ConfigurationKey) -> ConfigurationSource { sources[key.name] ?? .standard }
}

/// What somebody wrote, not yet known to be right.
struct ConfigurationSetting: Hashable, Sendable {
    let key: String
    let value: String
    let source: ConfigurationSource

    var unknownKey: ConfigurationProblem {
        .unknownKey(key, source: source, nearest: ConfigurationKey.nearest(to: key).name)
    }
}

extension LoadedConfiguration {
    /// Defaults, then the file, then the environment, then the options; the last one that names a key sets it.
    ///
    /// - Parameters:
    ///   - file: a path; nil for what `STRATA_CONFIG` names, if anything.
    ///   - environment: all variables of the process.
    ///   - assignments: the values of `--set`, as written.
    ///   - options: what the other options set; they win over `--set`.
    /// - Throws: ``ConfigurationError``.
    init(
        file: String?,
        environment: [String: String],
        assignments: [String],
        options: [ConfigurationSetting]
    ) throws {
        var settings: [ConfigurationSetting] = []
        var problems: [ConfigurationProblem] = []
        let variables = ConfigurationEnvironment(environment)
        if let path = file ?? variables.file {
            let content = ConfigurationFile(path: path)
            settings += content.settings
            problems += content.problems
        }
        settings += variables.settings
        problems += variables.problems
        for text in assignments {
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
                problems.append(.notAssignment(text))
                continue
            }
            let value = String(text[text.index(after: equals)...])
            settings.append(
                ConfigurationSetting(key: String(text[..<equals]), value: value, source: .option("--set"))
            )
        }
        try self.init(applying: settings + options, besides: problems)
    }
}
