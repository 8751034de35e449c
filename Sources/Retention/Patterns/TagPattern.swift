package import OCI

/// Which tags are meant: a glob, or a regular expression between slashes. Both match whole tags. A tag has no slash, so
/// that one is never taken for the other.
package struct TagPattern: Hashable, Sendable, CustomStringConvertible {
    private enum Form: Hashable, Sendable {
        case glob(Glob)
        case regularExpression(RegularExpression)
    }

    private let form: Form

    /// Most characters of a pattern: a tag has at most 128.
    package static let maximumLength = 256

    /// - Throws: ``TagPatternError``.
    package init(parsing text: String) throws {
        guard text.unicodeScalars.count <= Self.maximumLength else {
            throw TagPatternError(pattern: text, reason: "it has more than \(Self.maximumLength) characters")
        }
        if text.hasPrefix("/"), text.count > 2, text.hasSuffix("/") {
            do {
                form = .regularExpression(try RegularExpression(parsing: String(text.dropFirst().dropLast())))
            } catch {
                throw TagPatternError(pattern: text, reason: error.description)
            }
            return
        }
        guard !text.isEmpty, text.unicodeScalars.allSatisfy(Self.isOfGlob) else {
            throw TagPatternError(
                pattern: text,
                reason: "a glob has letters, digits, '_', '.', '-', '*' and '?'; "
                    + "a regular expression stands between slashes, as in /v[0-9]+/"
            )
        }
        form = .glob(Glob(text))
    }

    package var description: String {
        switch form {
        case .glob(let glob): glob.text
        case .regularExpression(let expression): "/" + expression.text + "/"
        }
    }

    package func matches(_ tag: Tag) -> Bool {
        switch form {
        case .glob(let glob): glob.matches(tag.text)
        case .regularExpression(let expression): expression.matches(tag.text)
        }
    }

    /// States of its regular expression: what a match costs for each character.
    var size: Int {
        switch form {
        case .glob: 0
        case .regularExpression(let expression): expression.size
        }
    }

    private static func isOfGlob(_ character: Unicode.Scalar) -> Bool {
        switch character {
        case "a"..."z", "A"..."Z", "0"..."9", "_", ".", "-", "*", "?": true
        default: false
        }
    }
}

/// Why a text is not a pattern.
package struct TagPatternError: Error, Hashable, CustomStringConvertible {
    let pattern: String
    let reason: String

    package var description: String {
        let shown = pattern.unicodeScalars.prefix(TagPattern.maximumLength).map { $0.value < 32 ? "?" : String($0) }
        return "'\(shown.joined())' is not a pattern: \(reason)."
    }
}

extension [TagPattern] {
    /// Whether one of them matches.
    func matches(_ tag: Tag) -> Bool { contains { $0.matches(tag) } }

    /// The first of them, and how many more there are.
    var summary: String {
        guard let first else { return "" }
        return count == 1 ? "\(first)" : "\(first) and \(count - 1) more"
    }
}
