/// A mutable name for a manifest in a repository.
/// Source: [distribution-spec, Pulling manifests](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).
package struct Tag: Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package var description: String { text }

    /// - Throws: ``ParseError`` `.tag` unless the text is `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    package init(parsing text: some StringProtocol) throws(ParseError) {
        let characters = Array(text.utf8)
        guard let first = characters.first, characters.count <= 128,
            first.isLetterOrDigit || first == UInt8(ascii: "_"),
            characters.allSatisfy({
                $0.isLetterOrDigit || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
            })
        else { throw .tag(String(text)) }
        self.text = String(text)
    }
}

extension Tag {
    /// The manifest that a tag is about by its name: `sha256-<hash>`, under which older clients list referrers, or
    /// `sha256-<hash>.sig` and its like, under which signing tools keep what they make. Nil if it is made of no digest.
    package var subject: Digest? {
        let parts = text.prefix { $0 != "." }.split(separator: "-", maxSplits: 1)
        guard parts.count == 2 else { return nil }
        return try? Digest(parsing: "\(parts[0]):\(parts[1])")
    }
}

/// What a manifest request names.
package enum Reference: Hashable, Sendable, CustomStringConvertible {
    case tag(Tag)
    case digest(Digest)

    /// Text with a colon is a digest: a tag cannot hold one.
    ///
    /// - Throws: ``ParseError``.
    package init(parsing text: some StringProtocol) throws(ParseError) {
        self = text.utf8.contains(UInt8(ascii: ":")) ? .digest(try Digest(parsing: text)) : .tag(try Tag(parsing: text))
    }

    package var description: String {
        switch self {
        case .tag(let tag): tag.text
        case .digest(let digest): digest.description
        }
    }
}
