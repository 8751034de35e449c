/// Where manifests, tags and blobs are: slash-separated lower-case components.
/// Source: [distribution-spec, Pulling manifests](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).
package struct RepositoryName: Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package var description: String { text }

    /// Most characters. Many clients limit host and name together to 255.
    package static let maximumLength = 255

    /// - Throws: ``ParseError`` `.repositoryName`.
    package init(parsing text: some StringProtocol) throws(ParseError) {
        guard text.utf8.count <= Self.maximumLength, Self.isName(Array(text.utf8)) else {
            throw .repositoryName(String(text))
        }
        self.text = String(text)
    }

    // [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
    private static func isName(_ text: [UInt8]) -> Bool {
        var separator: [UInt8] = [UInt8(ascii: "/")]  // as if a component had just ended: one must begin now
        for character in text {
            if character.isLowerOrDigit {
                guard isSeparator(separator) else { return false }
                separator = []
            } else {
                separator.append(character)
            }
        }
        return separator.isEmpty
    }

    private static func isSeparator(_ run: [UInt8]) -> Bool {
        switch run {
        case [], [UInt8(ascii: "/")], [UInt8(ascii: ".")], [UInt8(ascii: "_")], [UInt8(ascii: "_"), UInt8(ascii: "_")]:
            true
        default: run.allSatisfy { $0 == UInt8(ascii: "-") }
        }
    }
}
