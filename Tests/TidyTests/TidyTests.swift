import Foundation
import Testing

/// Rules about the source that neither the compiler nor the formatter checks.
@Suite("The source")
struct TidyTests {
    struct File: CustomTestStringConvertible, Sendable {
        let path: String
        let lines: [String]
        var testDescription: String { path }
        var target: String { String(path.split(separator: "/")[1]) }
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static let sources: [File] = {
        let folder = root.appendingPathComponent("Sources")
        let names = FileManager.default.enumerator(atPath: folder.path)?.compactMap { $0 as? String } ?? []
        return names.filter { $0.hasSuffix(".swift") }.sorted().compactMap { name in
            (try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)).map {
                File(path: "Sources/" + name, lines: $0.components(separatedBy: "\n"))
            }
        }
    }()

    @Test("is found by these tests")
    func isFound() { #expect(Self.sources.count > 40) }

    @Test("has no file over 500 lines", arguments: sources)
    func fileLength(_ file: File) { #expect(file.lines.count <= 500) }

    @Test("has SQL in Metadata and SQLStore only", arguments: sources)
    func sql(_ file: File) {
        guard !["Metadata", "SQLStore"].contains(file.target) else { return }
        let words = ["SELECT ", "INSERT INTO", "DELETE FROM", "CREATE TABLE"]
        for line in file.lines { #expect(!words.contains { line.contains($0) }, "\(line)") }
    }

    @Test("leaves nothing unfinished or unchecked", arguments: sources)
    func banned(_ file: File) {
        let words = [
            "TODO", "FIXME", "try!", "@unchecked Sendable", "fatalError(", "DispatchQueue", "Task.detached", " Task {",
        ]
        // What the compiler cannot check for us says right above why it is sound.
        let reasons = [" Task {": "// Unstructured: ", "@unchecked Sendable": "// Unchecked: "]
        for (number, line) in file.lines.enumerated() {
            for word in words where line.contains(word) {
                let above = number > 0 ? file.lines[number - 1].drop { $0 == " " } : ""
                let hasReason = reasons[word].map { above.hasPrefix($0) } ?? false
                #expect(hasReason, "\(file.path):\(number + 1) holds \(word)")
            }
        }
    }

    /// The targets of ours that each may import. The compiler alone accepts the import of a dependency's dependency.
    private static let layers: [String: Set<String>] = [
        "HTTPSyntax": [], "OCI": ["HTTPSyntax"], "Retention": ["OCI"],
        "Telemetry": [], "LoadGenerator": [], "SQLStore": [],
        "Metadata": ["OCI", "SQLStore", "Retention"],
        "BlobStorage": ["OCI"],
        "Access": ["OCI"], "RegistryCore": ["OCI", "Telemetry", "Retention", "Metadata", "BlobStorage", "Access"],
        "Housekeeping": ["OCI", "Telemetry", "Retention", "Metadata", "BlobStorage"],
        "Importing": ["HTTPSyntax", "OCI", "Metadata", "BlobStorage", "Access", "RegistryCore"],
        "HTTPAPI": [
            "HTTPSyntax", "OCI", "Telemetry", "Retention", "Metadata", "BlobStorage", "Access", "RegistryCore",
        ],
    ]

    @Test("imports only the layers below that its target names", arguments: sources)
    func imports(_ file: File) {
        guard let allowed = Self.layers[file.target] else { return }
        for line in file.lines where line.hasPrefix("import ") || line.hasPrefix("package import ") {
            guard let module = line.split(separator: " ").last.map(String.init), Self.layers[module] != nil else {
                continue
            }
            #expect(allowed.contains(module), "\(file.path) imports \(module)")
        }
    }
}
