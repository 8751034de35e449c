import Logging
import Metadata

extension ConfigurationOptions {
    /// The metadata with the schema that this program knows, for a command that needs nothing else.
    func withMetadata<Result: Sendable>(_ body: (MetadataStore) async throws -> Result) async throws -> Result {
        let configuration = try load()
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        return try await Composition.with(configuration, logger: logger) { composition in
            try await composition.metadata.migrate()
            return try await body(composition.metadata)
        }
    }
}
