/// A JSON document as it was written. Unlike Foundation's reader, this one refuses a key that stands twice: which of two
/// numbers of days holds must not depend on the reader.
enum JSONValue: Hashable, Sendable {
    case null
    case boolean(Bool)
    case integer(Int)
    /// Any number that is not a whole number of at most 18 digits.
    case number
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// What it is, for sentences about what it should be.
    var kind: String {
        switch self {
        case .null: "null"
        case .boolean: "true or false"
        case .integer, .number: "a number"
        case .string: "text"
        case .array: "a list"
        case .object: "an object"
        }
    }
}

/// Where a text stops being JSON. Lines and columns count from 1; columns count bytes.
struct JSONSyntaxError: Error, Hashable, CustomStringConvertible {
    let line: Int
    let column: Int
    let reason: String

    var description: String { "The document is not JSON: line \(line), column \(column): \(reason)." }
}

/// JSON as all of this program reads it: of an object that has a key twice, no reader may take one and another reader the other.
package enum JSONText {
    /// - Throws: an error that says where the text stops being JSON, or has a key twice.
    package static func check(_ text: [UInt8]) throws { _ = try JSONValue(parsing: text) }
}

extension JSONValue {
    /// - Throws: ``JSONSyntaxError``.
    init(parsing text: [UInt8]) throws(JSONSyntaxError) {
        var parser = JSONParser(text: text)
        self = try parser.document()
    }

    /// The text between quotes, as short as it can be written.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{0}"..<" ":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
