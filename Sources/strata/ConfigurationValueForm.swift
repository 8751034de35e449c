import HTTPAPI

/// How one type of value is written in a file, a variable or an option.
struct ConfigurationValueForm<Value: Sendable>: Sendable {
    /// Completes "expected …".
    let expected: String
    let unit: String?
    /// Whether JSON shows the text without quotes: numbers, true and false.
    let isLiteral: Bool
    /// Nil for a text that is no such value.
    let parse: @Sendable (String) -> Value?
    let format: @Sendable (Value) -> String
}

extension ConfigurationValueForm where Value == Int {
    static func number(_ range: ClosedRange<Int>, unit: String) -> Self {
        Self(
            expected: "a whole number of \(unit) from \(range.lowerBound) to \(range.upperBound)",
            unit: unit,
            isLiteral: true,
            parse: { text in Int(text).flatMap { range.contains($0) ? $0 : nil } },
            format: { "\($0)" }
        )
    }
}

extension ConfigurationValueForm where Value == Int64? {
    /// 0 is written for nil: no limit.
    static func limit(unit: String) -> Self {
        Self(
            expected: "a whole number of \(unit), or 0 for no limit",
            unit: unit,
            isLiteral: true,
            parse: { text in
                guard let number = Int64(text), number >= 0 else { return nil }
                return .some(number == 0 ? nil : number)
            },
            format: { "\($0 ?? 0)" }
        )
    }
}

extension ConfigurationValueForm where Value == Duration {
    static func seconds(_ range: ClosedRange<Int>) -> Self { whole(1, of: "seconds", range) }

    /// A whole number with its unit, as `90s`, `15m`, `12h` or `30d`.
    ///
    /// - Parameter least: seconds.
    static func time(atLeast least: Int) -> Self {
        let units: [(letter: Character, seconds: Int)] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
        let longest = 3650 * 86_400
        @Sendable func format(_ seconds: Int) -> String {
            let unit = units.first { seconds % $0.seconds == 0 } ?? units[3]
            return "\(seconds / unit.seconds)\(unit.letter)"
        }
        return Self(
            expected: "a time of at least \(format(least)), as 90s, 15m, 12h or 30d",
            unit: nil,
            isLiteral: false,
            parse: { text in
                guard let unit = units.first(where: { $0.letter == text.last }), let count = Int(text.dropLast()),
                    case let (seconds, overflows) = count.multipliedReportingOverflow(by: unit.seconds), !overflows,
                    (least...longest).contains(seconds)
                else { return nil }
                return .seconds(seconds)
            },
            format: { format(Int($0.components.seconds)) }
        )
    }

    private static func whole(_ secondsPerUnit: Int, of unit: String, _ range: ClosedRange<Int>) -> Self {
        let number = ConfigurationValueForm<Int>.number(range, unit: unit)
        return Self(
            expected: number.expected,
            unit: unit,
            isLiteral: true,
            parse: { text in number.parse(text).map { .seconds($0 * secondsPerUnit) } },
            format: { "\($0.components.seconds / Int64(secondsPerUnit))" }
        )
    }
}

extension ConfigurationValueForm where Value == Bool {
    /// In any case, as YAML 1.2 allows. Not `yes` or `on`: YAML 1.1 and 1.2 disagree about them.
    static var boolean: Self {
        Self(
            expected: "true or false",
            unit: nil,
            isLiteral: true,
            parse: { Bool($0.lowercased()) },
            format: { "\($0)" }
        )
    }
}

extension ConfigurationValueForm where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    static var choice: Self {
        let names = Value.allCases.map(\.rawValue)
        return Self(
            expected: names.dropLast().joined(separator: ", ") + " or " + (names.last ?? ""),
            unit: nil,
            isLiteral: false,
            parse: { Value(rawValue: $0) },
            format: { $0.rawValue }
        )
    }
}

extension ConfigurationValueForm where Value == String {
    static var folder: Self {
        Self(
            expected: "the path of a folder",
            unit: nil,
            isLiteral: false,
            parse: { $0.isEmpty ? nil : $0 },
            format: { $0 }
        )
    }
}

extension ConfigurationValueForm where Value == String {
    static func word(_ content: String) -> Self {
        Self(
            expected: "\(content), without spaces",
            unit: nil,
            isLiteral: false,
            parse: { $0.isEmpty || $0.contains(where: \.isWhitespace) ? nil : $0 },
            format: { $0 }
        )
    }
}

extension ConfigurationValueForm where Value == [NetworkRange] {
    static var networks: Self {
        Self(
            expected: "networks separated by commas, such as 10.0.0.0/8,fd00::/8, or nothing",
            unit: nil,
            isLiteral: false,
            parse: { text in
                let parts = text.split(separator: ",").map { $0.filter { !$0.isWhitespace } }
                let ranges = parts.compactMap { NetworkRange($0) }
                return ranges.count == parts.count ? ranges : nil
            },
            format: { $0.map(\.description).joined(separator: ",") }
        )
    }
}

extension ConfigurationValueForm where Value == String? {
    static func text(_ content: String) -> Self { optional("\(content), or nothing") { _ in true } }

    /// Joined with keys as it is, so it has no slash at its start and one at its end.
    static var prefix: Self {
        optional("text that ends with a slash and does not begin with one, or nothing") {
            $0.hasSuffix("/") && !$0.hasPrefix("/")
        }
    }

    /// Joined with a path as it is, so it has no slash at its end.
    static var httpURL: Self {
        optional("http:// or https:// with a host and perhaps a path, without a slash at the end, or nothing") { text in
            guard let path = ExternalURL.split(text)?.path else { return false }
            return !path.hasSuffix("/") && !path.contains("//")
                && path.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-._~/".contains($0)) }
        }
    }

    /// Stands in a query as it is, and names a file.
    static var keyName: Self {
        optional("1 to 64 letters, digits, hyphens and underscores, or nothing") { text in
            text.utf8.count <= 64
                && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        }
    }

    private static func optional(_ expected: String, _ isRight: @escaping @Sendable (String) -> Bool) -> Self {
        Self(
            expected: expected,
            unit: nil,
            isLiteral: false,
            parse: { text in text.isEmpty ? .some(nil) : isRight(text) ? .some(text) : nil },
            format: { $0 ?? "" }
        )
    }

    static func file(_ content: String) -> Self {
        Self(
            expected: "the path of \(content), or nothing",
            unit: nil,
            isLiteral: false,
            parse: { .some($0.isEmpty ? nil : $0) },
            format: { $0 ?? "" }
        )
    }
}

extension ConfigurationValueForm where Value == ListenAddress {
    static var address: Self {
        Self(
            expected: "host:port, such as 127.0.0.1:5000, [::1]:5000 or 0.0.0.0:5000",
            unit: nil,
            isLiteral: false,
            parse: { ListenAddress($0) },
            format: { $0.description }
        )
    }
}

extension ConfigurationValueForm where Value == ExternalURL? {
    static var url: Self {
        Self(
            expected: "http:// or https:// with a host, perhaps a port, and no path, or nothing",
            unit: nil,
            isLiteral: false,
            parse: { text in text.isEmpty ? .some(nil) : ExternalURL(text).map { .some($0) } },
            format: { $0?.description ?? "" }
        )
    }
}
