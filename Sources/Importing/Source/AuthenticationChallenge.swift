import HTTPSyntax

/// How a server wants to be shown who asks, from `WWW-Authenticate`.
/// Source: [RFC 9110, 11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1).
struct AuthenticationChallenge: Hashable, Sendable {
    /// Lower-cased: `basic` or `bearer`, for all that we know.
    let scheme: String
    /// Lower-cased names; values without their quotes.
    private(set) var parameters: [String: String] = [:]

    /// Every challenge of one header. A header may hold several, and commas stand between challenges as they do
    /// between the parameters of one.
    static func parse(_ header: String) -> [AuthenticationChallenge] {
        var challenges: [AuthenticationChallenge] = []
        for part in parts(of: header) {
            let equals = part.firstIndex(of: "=")
            let space = part.firstIndex { $0 == " " || $0 == "\t" }
            var parameter = part[...]
            if let space, space < (equals ?? part.endIndex) {
                challenges.append(AuthenticationChallenge(scheme: part[..<space].lowercased()))
                parameter = part[part.index(after: space)...]
            } else if equals == nil {
                challenges.append(AuthenticationChallenge(scheme: part.lowercased()))
                continue
            }
            guard let equals = parameter.firstIndex(of: "="), !challenges.isEmpty else { continue }
            let name = parameter[..<equals].trimmed.lowercased()
            challenges[challenges.count - 1].parameters[name] = unquoted(parameter[parameter.index(after: equals)...])
        }
        return challenges
    }

    /// What stands between commas that are in no quotes.
    private static func parts(of header: String) -> [String] {
        var parts = [""]
        var isQuoted = false
        var isEscaped = false
        for character in header {
            if character == ",", !isQuoted {
                parts.append("")
                continue
            }
            if character == "\"", !isEscaped { isQuoted.toggle() }
            isEscaped = isQuoted && character == "\\" && !isEscaped
            parts[parts.count - 1].append(character)
        }
        return parts.map(\.trimmed).filter { !$0.isEmpty }
    }

    private static func unquoted(_ text: Substring) -> String {
        let value = text.trimmed
        guard value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") else { return value }
        var out = ""
        var isEscaped = false
        for character in value.dropFirst().dropLast() {
            if character == "\\", !isEscaped {
                isEscaped = true
                continue
            }
            out.append(character)
            isEscaped = false
        }
        return out
    }
}
