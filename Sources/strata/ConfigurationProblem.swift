/// Where a value came from.
enum ConfigurationSource: Hashable, Sendable, CustomStringConvertible {
    case standard
    /// Lines count from 1.
    case file(path: String, line: Int)
    case environment(variable: String)
    /// As it is written on the command line, with its dashes.
    case option(String)

    var description: String {
        switch self {
        case .standard: "default"
        case .file(let path, let line): "\(path):\(line)"
        case .environment(let variable): "environment \(variable)"
        case .option(let name): "option \(name)"
        }
    }
}

/// Why a configuration cannot be used: a sentence that tells an operator what to change.
enum ConfigurationProblem: Hashable, Sendable, CustomStringConvertible {
    case unknownKey(String, source: ConfigurationSource, nearest: String)
    case wrongValue(key: String, value: String, source: ConfigurationSource, expected: String)
    case setTwice(key: String, source: ConfigurationSource, earlier: ConfigurationSource)
    case list(key: String, source: ConfigurationSource)
    case notAssignment(String)
    case file(path: String, reason: String)
    case unreadable(key: String, path: String)
    /// A file that is there, but not what it should be.
    case unusable(key: String, path: String, reason: String)
    /// Values that are each right, but not together.
    case contradiction(keys: [String], reason: String)

    var description: String {
        switch self {
        case .unknownKey(let key, let source, let nearest):
            "Unknown key '\(key)' (\(source)); the nearest known key is '\(nearest)'."
        case .wrongValue(let key, let value, let source, let expected):
            "The value '\(value)' of '\(key)' (\(source)) is wrong; expected \(expected)."
        case .setTwice(let key, let source, let earlier):
            "'\(key)' is set twice (\(earlier) and \(source)); keep one."
        case .list(let key, let source):
            "'\(key)' (\(source)) is a list; expected one value."
        case .notAssignment(let text):
            "'\(text)' (option --set) is no assignment; write --set KEY=VALUE."
        case .file(let path, let reason):
            "The configuration file \(path) cannot be used: \(reason)"
        case .unreadable(let key, let path):
            "The file \(path) that '\(key)' names is missing or not readable."
        case .unusable(let key, let path, let reason):
            "The file \(path) that '\(key)' names cannot be used: \(reason)."
        case .contradiction(_, let reason):
            reason
        }
    }
}

/// Everything that is wrong with a configuration, so that an operator mends it in one go.
struct ConfigurationError: Error, Hashable, CustomStringConvertible {
    let problems: [ConfigurationProblem]

    var description: String {
        guard problems.count != 1 else { return problems.map(\.description).joined() }
        return "The configuration has \(problems.count) problems:" + problems.map { "\n  - \($0)" }.joined()
    }
}
