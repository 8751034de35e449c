import Logging
import Metadata

extension ConfigurationOptions {
    /// The stores, with the schema that this program knows.
    func withStores<Result>(_ body: (Composition) async throws -> Result) async throws -> Result {
        let configuration = try load()
        let logger = Logger(label: "strata") { _ in LogLines(configuration.log) }
        return try await Composition.with(configuration, logger: logger) { composition in
            try await composition.metadata.migrate()
            return try await body(composition)
        }
    }
}
