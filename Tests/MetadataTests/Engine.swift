import Foundation
import Logging
import Metadata
import OCI
import SQLStore
import Testing

/// The databases that every test runs on. PostgreSQL is one of them where `STRATA_TEST_POSTGRES` names a server in which
/// databases may be created (`make test-fast` starts one).
enum Engine: String, CaseIterable, CustomTestStringConvertible {
    case sqlite = "SQLite"
    case postgres = "PostgreSQL"

    static let server = ProcessInfo.processInfo.environment["STRATA_TEST_POSTGRES"]
    static let available = allCases.filter { $0 != .postgres || server != nil }

    var testDescription: String { rawValue }

    /// A store on a new, empty database.
    func withStore<Result: Sendable>(
        _ body: @Sendable (MetadataStore, any SQLDatabase) async throws -> Result
    ) async throws -> Result {
        switch self {
        case .sqlite:
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("strata-\(UUID())")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let database = try SQLiteDatabase(path: folder.appendingPathComponent("metadata.sqlite").path)
            return try await run(on: database, body)
        case .postgres:
            let settings = try await Self.makePostgresDatabase()
            return try await run(on: PostgresDatabase(settings, logger: Logger(label: "test")), body)
        }
    }

    /// A new database on the test server.
    static func makePostgresDatabase() async throws -> PostgresDatabase.Settings {
        let name = "t" + UUID().uuidString.lowercased().replacing("-", with: "")
        // Without limits, and with time to connect: all suites make theirs at the same time.
        let server = (server ?? "") + " connect_timeout=30"
        let admin = PostgresDatabase(
            PostgresDatabase.Settings(url: "\(server) dbname=postgres", connections: 1, setsLimits: false),
            logger: Logger(label: "test")
        )
        _ = try await admin.read { try $0.run(Query(schema: "CREATE DATABASE \(name)")) }
        return PostgresDatabase.Settings(url: "\(server) dbname=\(name)", connections: 8)
    }

    private func run<Result: Sendable>(
        on database: any SQLDatabase,
        _ body: @Sendable (MetadataStore, any SQLDatabase) async throws -> Result
    ) async throws -> Result {
        let store = MetadataStore(database)
        try await store.migrate()
        return try await body(store, database)
    }
}

extension MetadataStore {
    func commit(_ digest: Digest, size: Int64, at location: BlobLocation, in repository: RepositoryName) async throws
        -> Bool
    {
        try await commit(FinishedUpload(digest, size: size, at: location, session: nil, in: repository))
    }
}
