import OCI

/// Why a command could not do what was asked: a sentence for people; the codes of the registry are for programs that speak HTTP.
private struct Refusal: Error, CustomStringConvertible {
    let description: String
}

func inPlainWords<Result>(_ body: () async throws -> Result) async throws -> Result {
    do { return try await body() } catch let error as RegistryError {
        throw Refusal(description: error.entries.map(\.message).joined(separator: "\n"))
    }
}
