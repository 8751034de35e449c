/// Reads one JSON document. Source: [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259).
struct JSONParser {
    private let text: [UInt8]
    private var at = 0

    /// Most lists and objects inside each other; a policy has four. Bounds the recursion.
    private static let maximumDepth = 16

    init(text: [UInt8]) { self.text = text }

    mutating func document() throws(JSONSyntaxError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard at == text.count else { throw error("nothing may follow the end of the document") }
        return value
    }

    private mutating func value(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        guard depth <= Self.maximumDepth else { throw error("lists and objects are nested too deeply") }
        skipSpace()
        switch text.at(at) {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .boolean(true))
        case UInt8(ascii: "f"): return try word("false", .boolean(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case let byte? where byte == UInt8(ascii: "-") || byte.isDigit: return try number()
        default: throw error("expected a value")
        }
    }

    private mutating func object(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        var members: [String: JSONValue] = [:]
        at += 1
        if take("}") { return .object(members) }
        repeat {
            skipSpace()
            guard text.at(at) == UInt8(ascii: "\"") else { throw error("expected a key in quotes") }
            let start = at
            let key = try string()
            guard members[key] == nil else {
                at = start
                throw error("the key \(JSONValue.quoted(key)) stands twice in one object")
            }
            guard take(":") else { throw error("expected ':'") }
            members[key] = try value(depth: depth + 1)
        } while take(",")
        guard take("}") else { throw error("expected ',' or '}'") }
        return .object(members)
    }

    private mutating func array(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        var items: [JSONValue] = []
        at += 1
        if take("]") { return .array(items) }
        repeat { items.append(try value(depth: depth + 1)) } while take(",")
        guard take("]") else { throw error("expected ',' or ']'") }
        return .array(items)
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(JSONSyntaxError) -> JSONValue {
        guard text[at...].starts(with: word.utf8) else { throw error("expected a value") }
        at += word.utf8.count
        return value
    }

    private mutating func number() throws(JSONSyntaxError) -> JSONValue {
        let start = at
        if text.at(at) == UInt8(ascii: "-") { at += 1 }
        let firstDigit = text.at(at)
        let digits = try skipDigits()
        guard firstDigit != UInt8(ascii: "0") || digits == 1 else {
            at = start
            throw error("a number does not begin with 0")
        }
        var isWhole = true
        if text.at(at) == UInt8(ascii: ".") {
            isWhole = false
            at += 1
            _ = try skipDigits()
        }
        if [UInt8(ascii: "e"), UInt8(ascii: "E")].contains(text.at(at)) {
            isWhole = false
            at += 1
            if [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(text.at(at)) { at += 1 }
            _ = try skipDigits()
        }
        guard isWhole, digits <= 18, let value = Int(String(decoding: text[start..<at], as: UTF8.self)) else {
            return .number
        }
        return .integer(value)
    }

    private mutating func skipDigits() throws(JSONSyntaxError) -> Int {
        let start = at
        while text.at(at)?.isDigit == true { at += 1 }
        guard at > start else { throw error("expected a digit") }
        return at - start
    }

    private mutating func string() throws(JSONSyntaxError) -> String {
        var bytes: [UInt8] = []
        let start = at
        at += 1
        while let byte = text.at(at), byte != UInt8(ascii: "\"") {
            guard byte >= 0x20 else { throw error("a control character is not allowed in quotes") }
            at += 1
            if byte == UInt8(ascii: "\\") {
                bytes += Array(String(Character(try escaped())).utf8)
            } else {
                bytes.append(byte)
            }
        }
        guard at < text.count else {
            at = start
            throw error("the closing quote is missing")
        }
        at += 1
        guard let string = String(validating: bytes, as: UTF8.self) else {
            at = start
            throw error("the text is not UTF-8")
        }
        return string
    }

    /// What follows a backslash.
    private mutating func escaped() throws(JSONSyntaxError) -> Unicode.Scalar {
        at += 1
        switch text.at(at - 1) {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try codeUnit()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xdc00, text.at(at) == UInt8(ascii: "\\"), text.at(at + 1) == UInt8(ascii: "u") else {
                throw error("half of a surrogate pair")
            }
            at += 2
            let second = try codeUnit()
            guard (0xdc00..<0xe000).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (UInt32(unit) - 0xd800) << 10 + (UInt32(second) - 0xdc00))
            else { throw error("half of a surrogate pair") }
            return scalar
        default:
            at -= 1
            throw error("unknown escape in quotes")
        }
    }

    private mutating func codeUnit() throws(JSONSyntaxError) -> UInt16 {
        guard at + 4 <= text.count, text[at..<at + 4].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let unit = UInt16(String(decoding: text[at..<at + 4], as: UTF8.self), radix: 16)
        else { throw error("expected four hexadecimal digits") }
        at += 4
        return unit
    }

    /// Skips space, and then this character if it is next.
    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard text.at(at) == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = text.at(at), [0x20, 0x0a, 0x0d, 0x09].contains(byte) { at += 1 }
    }

    private func error(_ reason: String) -> JSONSyntaxError {
        let before = text[..<Swift.min(at, text.count)]
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        return JSONSyntaxError(line: line, column: before.endIndex - lineStart + 1, reason: reason)
    }
}

extension [UInt8] {
    /// Nil past the end.
    fileprivate func at(_ index: Int) -> UInt8? { index < count ? self[index] : nil }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
}
