import OCI

/// A tag as a version: `1.2.3`, `v1.2.3`, `1.2.3-rc.1`. Helm writes the build's `+` as `_`, which a tag may hold.
/// Source: [Semantic Versioning 2.0.0](https://semver.org/spec/v2.0.0.html).
struct SemanticVersion: Hashable, Sendable {
    private let numbers: [String]
    private let prerelease: [String]

    /// Nil if the tag is no version.
    init?(_ tag: Tag) {
        var text = tag.text[...]
        if text.hasPrefix("v") { text.removeFirst() }
        if let build = text.firstIndex(of: "_") {
            guard Self.isIdentifiers(text[text.index(after: build)...]) else { return nil }
            text = text[..<build]
        }
        var prerelease: [String] = []
        if let dash = text.firstIndex(of: "-") {
            let identifiers = text[text.index(after: dash)...]
            guard Self.isIdentifiers(identifiers) else { return nil }
            prerelease = identifiers.split(separator: ".").map(String.init)
            guard prerelease.allSatisfy({ !Self.isDigits($0) || Self.isNumber($0) }) else { return nil }
            text = text[..<dash]
        }
        let numbers = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard numbers.count == 3, numbers.allSatisfy(Self.isNumber) else { return nil }
        self.numbers = numbers
        self.prerelease = prerelease
    }

    private static func isIdentifiers(_ text: Substring) -> Bool {
        text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { identifier in
            !identifier.isEmpty && !identifier.contains("_")
        }
    }

    private static func isDigits(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    private static func isNumber(_ text: String) -> Bool { isDigits(text) && (text == "0" || !text.hasPrefix("0")) }

    /// Compares numbers of any length.
    private static func isLess(number one: String, _ other: String) -> Bool {
        one.utf8.count != other.utf8.count
            ? one.utf8.count < other.utf8.count : one.utf8.lexicographicallyPrecedes(other.utf8)
    }

    private static func isLess(identifier one: String, _ other: String) -> Bool {
        switch (isDigits(one), isDigits(other)) {
        case (true, true): isLess(number: one, other)
        case (true, false): true
        case (false, true): false
        case (false, false): one.utf8.lexicographicallyPrecedes(other.utf8)
        }
    }
}

/// The precedence of section 11: a pre-release comes before its version. Builds do not count.
extension SemanticVersion: Comparable {
    static func < (one: Self, other: Self) -> Bool {
        if one.numbers != other.numbers {
            return one.numbers.lexicographicallyPrecedes(other.numbers, by: isLess(number:_:))
        }
        if one.prerelease.isEmpty || other.prerelease.isEmpty {
            return !one.prerelease.isEmpty && other.prerelease.isEmpty
        }
        return one.prerelease.lexicographicallyPrecedes(other.prerelease, by: isLess(identifier:_:))
    }
}
