/// Reads what docs/retention.md says of regular expressions: what has one meaning everywhere, and nothing that would need
/// going back. Anything else is refused, never taken for something similar.
struct RegularExpressionParser {
    private let text: [Unicode.Scalar]
    private var at = 0

    /// Most groups inside each other. Bounds the recursion.
    private static let maximumDepth = 20

    init(_ text: String) { self.text = Array(text.unicodeScalars) }

    mutating func expression() throws(RegularExpressionError) -> RegularExpressionNode {
        if let foreign = text.firstIndex(where: { !(0x21...0x7e).contains($0.value) }) {
            at = foreign
            throw error("no tag has such a character")
        }
        let node = try choice(depth: 0)
        guard at == text.count else { throw error("')' without '('") }
        return node
    }

    private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }

    private func error(_ reason: String) -> RegularExpressionError {
        RegularExpressionError(position: at + 1, reason: reason)
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == character else { return false }
        at += 1
        return true
    }

    private mutating func choice(depth: Int) throws(RegularExpressionError) -> RegularExpressionNode {
        guard depth <= Self.maximumDepth else { throw error("groups are nested too deeply") }
        var choices = [try sequence(depth: depth)]
        while take("|") { choices.append(try sequence(depth: depth)) }
        return choices.count == 1 ? choices[0] : .choice(choices)
    }

    private mutating func sequence(depth: Int) throws(RegularExpressionError) -> RegularExpressionNode {
        var nodes: [RegularExpressionNode] = []
        while let character = next, character != "|", character != ")" {
            nodes.append(try repeated(try atom(depth: depth)))
        }
        return .sequence(nodes)
    }

    private mutating func atom(depth: Int) throws(RegularExpressionError) -> RegularExpressionNode {
        guard let character = next else { throw error("it ends too early") }
        at += 1
        switch character {
        case "(": return try group(depth: depth)
        case "[": return .one(of: try characterClass())
        case ".": return .one(of: CharacterSet128().inverted)
        case "^": return .start
        case "$": return .end
        case "\\": return .one(of: try escaped())
        case "*", "+", "?", "{", "}", "]":
            at -= 1
            throw error("'\(character)' has nothing to belong to; write '\\\(character)' for the character itself")
        default: return .one(of: CharacterSet128([UInt8(ascii: character)]))
        }
    }

    private mutating func group(depth: Int) throws(RegularExpressionError) -> RegularExpressionNode {
        let start = at - 1
        if take("?"), !take(":") { throw error("of '(?' only '(?:' is understood") }
        let node = try choice(depth: depth + 1)
        guard take(")") else {
            at = start
            throw error("'(' without ')'")
        }
        return node
    }

    private mutating func repeated(
        _ node: RegularExpressionNode
    ) throws(RegularExpressionError) -> RegularExpressionNode {
        let start = at
        let result: RegularExpressionNode
        if take("*") {
            result = .repeated(node, least: 0, most: nil)
        } else if take("+") {
            result = .repeated(node, least: 1, most: nil)
        } else if take("?") {
            result = .repeated(node, least: 0, most: 1)
        } else if take("{") {
            let least = try count()
            let most = take(",") ? (next == "}" ? nil : try count()) : least
            guard take("}"), least <= most ?? least else {
                at = start
                throw error("write {n}, {n,} or {n,m} with n at most m")
            }
            result = .repeated(node, least: least, most: most)
        } else {
            return node
        }
        if let character = next, "*+?{".unicodeScalars.contains(character) {
            throw error("what is repeated cannot be repeated again; use a group")
        }
        return result
    }

    /// A number of at most 1,000.
    private mutating func count() throws(RegularExpressionError) -> Int {
        let start = at
        while let character = next, ("0"..."9").contains(character) { at += 1 }
        var digits = ""
        digits.unicodeScalars.append(contentsOf: text[start..<at])
        guard digits.count <= 4, let count = Int(digits), count <= 1_000 else {
            at = start
            throw error("expected a number of at most 1000")
        }
        return count
    }

    /// After the backslash.
    private mutating func escaped() throws(RegularExpressionError) -> CharacterSet128 {
        guard let character = next else { throw error("nothing follows the backslash") }
        at += 1
        switch character {
        case "d": return .digits
        case "D": return CharacterSet128.digits.inverted
        case "w": return .wordCharacters
        case "W": return CharacterSet128.wordCharacters.inverted
        case "0"..."9", "a"..."z", "A"..."Z":
            at -= 1
            throw error("'\\\(character)' is not understood; there are \\d, \\D, \\w and \\W")
        default: return CharacterSet128([UInt8(ascii: character)])
        }
    }

    /// After the opening bracket.
    private mutating func characterClass() throws(RegularExpressionError) -> CharacterSet128 {
        let start = at - 1
        let isInverted = take("^")
        var set = CharacterSet128()
        var isEmpty = true
        while let character = next, character != "]" {
            isEmpty = false
            at += 1
            switch character {
            case "[":
                at -= 1
                throw error("write '\\[' for the character itself")
            case "\\": set.formUnion(try escaped())
            case _ where next == "-" && at + 1 < text.count && text[at + 1] != "]":
                let last = text[at + 1]
                guard last != "\\", last != "[", character <= last else {
                    throw error("a range goes from one character up to another")
                }
                at += 2
                set.formUnion(CharacterSet128(UInt8(ascii: character)...UInt8(ascii: last)))
            default: set.insert(UInt8(ascii: character))
            }
        }
        guard !isEmpty, take("]") else {
            at = start
            throw error("'[' without a character and ']'")
        }
        return isInverted ? set.inverted : set
    }
}
