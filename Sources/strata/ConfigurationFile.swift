import FoundationEssentials
import Yams

/// The settings in a YAML file. `http: {idle-seconds: 5}` and `http.idle-seconds: 5` say the same.
struct ConfigurationFile {
    let path: String
    private(set) var settings: [ConfigurationSetting] = []
    private(set) var problems: [ConfigurationProblem] = []

    /// Most bytes of a file: some hundred times what all keys with comments take.
    private static let maximumSize = 1024 * 1024

    /// Reads the file.
    init(path: String) {
        self.path = path
        read()
    }

    init(path: String, text: String) {
        self.path = path
        parse(text)
    }

    private mutating func read() {
        guard let content = FileManager.default.contents(atPath: path) else {
            return refuse("it is missing or not readable.")
        }
        guard content.count <= Self.maximumSize else { return refuse("it is larger than 1 MiB.") }
        guard let text = String(data: content, encoding: .utf8) else { return refuse("it is not UTF-8 text.") }
        parse(text)
    }

    private mutating func parse(_ text: String) {
        do {
            guard let root = try compose(yaml: text) else { return }
            switch root {
            case .mapping(let mapping): collect(mapping, under: "")
            case .scalar(let scalar) where scalar.string.isEmpty: return
            default: refuse("it is not a list of 'key: value' lines.")
            }
        } catch {
            refuse("\(error)")
        }
    }

    private mutating func collect(_ mapping: Node.Mapping, under prefix: String) {
        for (key, value) in mapping {
            guard let word = key.scalar?.string else {
                refuse("line \(key.mark?.line ?? 1) has a key that is no word.")
                continue
            }
            let name = prefix + word
            let source = ConfigurationSource.file(path: path, line: key.mark?.line ?? 1)
            switch value {
            case .mapping(let inner):
                collect(inner, under: name + ".")
            case .scalar(let scalar):
                let isEmpty = scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
                // What a section is when all its lines are commented out.
                if isEmpty, ConfigurationKey.isSection(name) { continue }
                add(ConfigurationSetting(key: name, value: isEmpty ? "" : scalar.string, source: source))
            case .sequence, .alias:
                let setting = ConfigurationSetting(key: name, value: "", source: source)
                let isKnown = ConfigurationKey.named(name) != nil
                problems.append(isKnown ? .list(key: name, source: source) : setting.unknownKey)
            }
        }
    }

    private mutating func add(_ setting: ConfigurationSetting) {
        if let earlier = settings.first(where: { $0.key == setting.key }) {
            problems.append(.setTwice(key: setting.key, source: setting.source, earlier: earlier.source))
        }
        settings.append(setting)
    }

    private mutating func refuse(_ reason: String) { problems.append(.file(path: path, reason: reason)) }
}
