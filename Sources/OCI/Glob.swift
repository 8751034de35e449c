/// A pattern for names: `*` stands for any text, slashes included, and `?` for one character.
package struct Glob: Hashable, Sendable {
    package let text: String

    package init(_ text: String) { self.text = text }

    /// Whether it can match one name only, itself.
    package var isLiteral: Bool { !text.unicodeScalars.contains { $0 == "*" || $0 == "?" } }

    package func matches(_ name: String) -> Bool {
        let pattern = Array(text.unicodeScalars)
        let name = Array(name.unicodeScalars)
        var (at, inName) = (0, 0)
        // The last star and where its text ends: when the rest does not fit, it takes one character more.
        var star: (pattern: Int, name: Int)?
        while inName < name.count {
            if at < pattern.count, pattern[at] == "*" {
                star = (at, inName)
                at += 1
            } else if at < pattern.count, pattern[at] == "?" || pattern[at] == name[inName] {
                at += 1
                inName += 1
            } else if let last = star {
                star = (last.pattern, last.name + 1)
                at = last.pattern + 1
                inName = last.name + 1
            } else {
                return false
            }
        }
        return pattern[at...].allSatisfy { $0 == "*" }
    }
}
