/// A name under which an operator sets one property of ``Configuration``.
struct ConfigurationKey: Sendable {
    let name: String
    /// What it means, in Markdown.
    let documentation: String
    /// Completes "expected …".
    let expected: String
    let unit: String?
    /// Whether JSON shows a value without quotes.
    let isLiteral: Bool
    /// Whether its value is never shown.
    let isSecret: Bool
    private let write: @Sendable (String, inout Configuration) -> Bool
    private let read: @Sendable (Configuration) -> String

    init<Value>(
        _ name: String,
        _ property: any WritableKeyPath<Configuration, Value> & Sendable,
        _ form: ConfigurationValueForm<Value>,
        isSecret: Bool = false,
        _ documentation: String
    ) {
        self.name = name
        self.isSecret = isSecret
        self.documentation = documentation
        expected = form.expected
        unit = form.unit
        isLiteral = form.isLiteral
        read = { form.format($0[keyPath: property]) }
        write = { text, configuration in
            guard let value = form.parse(text) else { return false }
            configuration[keyPath: property] = value
            return true
        }
    }

    /// False, and nothing is set, if the text is no value of this key.
    func set(_ text: String, in configuration: inout Configuration) -> Bool { write(text, &configuration) }

    /// As it would be written; dots in place of a secret.
    func text(in configuration: Configuration) -> String {
        let text = read(configuration)
        return isSecret && !text.isEmpty ? "•••" : text
    }

    /// The default, as it would be written.
    var standard: String { read(Configuration()) }

    /// The environment variable: `STRATA_HTTP_MAX_CONNECTIONS` for `http.max-connections`.
    var variable: String {
        Self.variablePrefix + String(name.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 })
    }

    static let variablePrefix = "STRATA_"
}

extension ConfigurationKey {
    static func named(_ name: String) -> ConfigurationKey? { all.first { $0.name == name } }

    /// Whether keys begin with this word and a dot.
    static func isSection(_ name: String) -> Bool { all.contains { $0.name.hasPrefix(name + ".") } }

    /// The key that was most likely meant: the one that takes the fewest edits, be it of the whole name, of its section
    /// or of what follows. Capitals, dots, hyphens and underscores do not count.
    static func nearest(to text: String) -> ConfigurationKey {
        let wanted = plain(text)
        let distances = all.map { key in
            let parts = [key.name] + key.name.split(separator: ".", maxSplits: 1).map(String.init)
            return (key: key, edits: parts.map { editDistance(plain($0), wanted) }.min() ?? .max)
        }
        return distances.dropFirst().reduce(distances[0]) { $1.edits < $0.edits ? $1 : $0 }.key
    }

    private static func plain(_ text: String) -> String {
        String(text.lowercased().map { $0 == "." || $0 == "_" ? "-" : $0 })
    }

    /// Insertions, deletions and replacements of a character between two texts (Levenshtein).
    private static func editDistance(_ first: String, _ second: String) -> Int {
        // A hundred characters tell what was meant, and bound the work.
        let second = Array(second.prefix(100))
        var row = Array(0...second.count)
        for (index, character) in first.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (column, other) in second.enumerated() {
                let replaced = diagonal + (character == other ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
            }
        }
        return row[second.count]
    }
}
