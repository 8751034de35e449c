/// Reads the few flat elements of a store's answers.
enum XMLText {
    /// The text of the first element of a name.
    static func first(_ name: String, in xml: some StringProtocol) -> String? { all(name, in: xml).first }

    /// The texts of all elements of a name, which do not nest.
    static func all(_ name: String, in xml: some StringProtocol) -> [String] {
        elements(name, in: xml).map(plain)
    }

    /// What stands between the tags of all elements of a name.
    static func elements(_ name: String, in xml: some StringProtocol) -> [String] {
        var found: [String] = []
        var rest = xml[...]
        while let start = rest.firstRange(of: "<\(name)>"),
            let end = rest[start.upperBound...].firstRange(of: "</\(name)>")
        {
            found.append(String(rest[start.upperBound..<end.lowerBound]))
            rest = rest[end.upperBound...]
        }
        return found
    }

    static func plain(_ text: String) -> String {
        text.replacing("&quot;", with: "\"").replacing("&#34;", with: "\"").replacing("&lt;", with: "<")
            .replacing("&gt;", with: ">").replacing("&apos;", with: "'").replacing("&amp;", with: "&")
    }

    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}
