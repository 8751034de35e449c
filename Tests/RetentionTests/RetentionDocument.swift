import Foundation

/// docs/retention.md, of which every table and example is a test.
enum RetentionDocument {
    static let lines: [String] = {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = FileManager.default.contents(atPath: root.appending(path: "docs/retention.md").path)
        return String(decoding: text ?? Data(), as: UTF8.self).components(separatedBy: "\n")
    }()

    /// The lines under a heading, to the next one of its level or above.
    static func section(_ heading: String) -> [String] {
        let level = heading.prefix { $0 == "#" }.count
        return Array(
            lines.drop { $0 != heading }.dropFirst()
                .prefix { line in
                    let marks = line.prefix { $0 == "#" }.count
                    return marks == 0 || marks > level
                }
        )
    }

    /// The first table under a heading: its rows as cells, without the head.
    static func table(_ heading: String) -> [[String]] { tables(section(heading)).first?.rows ?? [] }

    static func tables(_ lines: [String]) -> [Table] {
        lines.split { !$0.hasPrefix("|") }.map { lines in
            let rows = lines.map(cells)
            return Table(head: rows.first ?? [], rows: Array(rows.dropFirst(2)))
        }
    }

    struct Table: Sendable {
        let head: [String]
        let rows: [[String]]

        /// Rows by the heads of their columns.
        var records: [[String: String]] {
            rows.map { Dictionary(zip(head, $0), uniquingKeysWith: { first, _ in first }) }
        }
    }

    /// A bar inside a cell is written with a backslash.
    private static func cells(_ line: String) -> [String] {
        line.replacingOccurrences(of: "\\|", with: "\u{0}").split(separator: "|", omittingEmptySubsequences: false)
            .dropFirst().dropLast()
            .map { $0.replacingOccurrences(of: "\u{0}", with: "|").trimmingCharacters(in: .whitespaces) }
    }

    /// The texts between backquotes.
    static func quoted(_ text: String) -> [String] {
        text.components(separatedBy: "`").enumerated().filter { !$0.offset.isMultiple(of: 2) }.map(\.element)
    }
}
