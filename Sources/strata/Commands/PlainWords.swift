import Foundation
import OCI

/// Why a command could not do what was asked: a sentence for people. Unlike ArgumentParser's `ValidationError`, it is no
/// mistake in how the command is written: the exit status is 1, and nothing is said of its usage.
struct Refusal: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }

    /// What the system says of a call that failed.
    init(_ operation: String, _ code: CInt) { description = "\(operation): \(String(cString: strerror(code)))" }
}

/// The codes of the registry are for programs that speak HTTP.
func inPlainWords<Result>(_ body: () async throws -> Result) async throws -> Result {
    do { return try await body() } catch let error as RegistryError {
        throw Refusal(error.entries.map(\.message).joined(separator: "\n"))
    }
}
