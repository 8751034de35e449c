import Logging
import Metadata

extension ConfigurationOptions {
    /// The stores of a registry that is there, with the schema that this program knows. Makes none and changes no schema:
    /// whoever mistypes a folder is told so, and a fleet is upgraded by `serve` and `migrate` alone.
    ///
    /// - Throws: ``ConfigurationError`` if there is no registry; ``SchemaError`` if its schema is another.
    func withStores<Result>(_ body: (Composition) async throws -> Result) async throws -> Result {
        let configuration = try load()
        if configuration.metadata == .sqlite { try DataFolder(configuration).requireRegistry() }
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        return try await Composition.with(configuration, logger: logger) { composition in
            try await composition.metadata.requireCurrentSchema()
            return try await body(composition)
        }
    }
}
