/// Why some text is not a value of the specification. Holds the refused text, shortened, so that a client can find it.
package enum ParseError: Error, Hashable, Sendable, CustomStringConvertible {
    case digest(String)
    case unsupportedAlgorithm(String)
    case repositoryName(String)
    case tag(String)
    case manifest(String)

    package var description: String {
        switch self {
        case .digest(let text):
            "\(Self.quoted(text)) is not a digest; write sha256: or sha512: and the hash in lower-case hexadecimal."
        case .unsupportedAlgorithm(let text):
            "The digest algorithm \(Self.quoted(text)) is not supported; use sha256 or sha512."
        case .repositoryName(let text):
            "\(Self.quoted(text)) is not a repository name; use lower-case letters, digits, '.', '_', '-' and '/', at most 255."
        case .tag(let text):
            "\(Self.quoted(text)) is not a tag; use up to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'."
        case .manifest(let reason):
            reason
        }
    }

    /// Most characters of a refused text that are shown again.
    private static let shownLength = 160

    private static func quoted(_ text: String) -> String {
        let printable = text.unicodeScalars.prefix(shownLength).map {
            $0.value < 32 || $0.value == 127 ? "?" : String($0)
        }
        return "'" + printable.joined() + (text.unicodeScalars.count > shownLength ? "…'" : "'")
    }
}
