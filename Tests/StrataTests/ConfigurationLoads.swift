import ArgumentParser
import FoundationEssentials

@testable import strata

func load(
    _ assignments: String...,
    file: String? = nil,
    environment: [String: String] = [:]
) throws -> LoadedConfiguration { try load(assignments, file: file, environment: environment) }

func load(
    _ assignments: [String],
    file: String? = nil,
    environment: [String: String] = [:]
) throws -> LoadedConfiguration {
    let file = file.map { ["--config", $0] } ?? []
    return try load(arguments: file + assignments.flatMap { ["--set", $0] }, environment: environment)
}

func load(arguments: [String], environment: [String: String] = [:]) throws -> LoadedConfiguration {
    try ConfigurationOptions.parse(arguments).loadWithSources(environment: environment)
}

/// What loading found wrong; nothing if it worked, or failed in another way.
func problems(_ load: () throws -> LoadedConfiguration) -> [ConfigurationProblem] {
    do {
        _ = try load()
        return []
    } catch {
        return (error as? ConfigurationError)?.problems ?? []
    }
}

func withFile(_ text: String, _ body: (_ path: String) throws -> Void) throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "strata-\(UUID().uuidString).yaml")
    try Data(text.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    try body(file.path)
}
