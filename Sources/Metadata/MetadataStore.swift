import OCI
package import SQLStore

/// What the registry knows about its content. Every SQL statement of the program is in this module.
package struct MetadataStore: Sendable {
    let database: any SQLDatabase
    let promises: Promises
    let uploads: UploadBatcher
    let manifests: ManifestCache

    /// - Parameters:
    ///   - manifestCache: bytes of manifests that are kept in memory at most.
    ///   - committed: told how many uploads shared each transaction, for metrics.
    package init(
        _ database: any SQLDatabase,
        promises: Promises = .standard,
        manifestCache: Int = 32 << 20,
        committed: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        manifests = ManifestCache(limit: manifestCache)
        uploads = Self.makeUploadBatcher(database, promises, committed)
        self.database = database
        self.promises = promises
    }

    /// A random value that all nodes share, made by the first that asks for it.
    ///
    /// - Parameter candidate: what to keep if there is none yet.
    package func secret(_ name: String, orElse candidate: [UInt8]) async throws -> [UInt8] {
        try await database.write { db in
            try db.run("INSERT INTO secret (name, value) VALUES (\(name), \(candidate)) ON CONFLICT (name) DO NOTHING")
            return try db.run("SELECT value FROM secret WHERE name = \(name)").first?.bytes(0) ?? candidate
        }
    }

    /// The secret that upload ids are signed with. Every registry that was ever served has one, and keeps it.
    package static let uploadSecret = "upload-id"

    /// What tells one registry from every other, also in copies of its database: the random value that its first server
    /// made. Nil if none was ever served or imported into. To be compared, and shown to nobody.
    package func identity() async throws -> [UInt8]? {
        try await database.read { db in
            try db.run("SELECT value FROM secret WHERE name = \(Self.uploadSecret)").first?.bytes(0)
        }
    }

    /// Answers if the database can be read, throws if not. What readiness means.
    package func ping() async throws {
        _ = try await database.read { db in try db.run("SELECT 1") }
    }
}

package enum SchemaError: Error, Hashable, CustomStringConvertible {
    case newer(found: Int64, known: Int64)
    /// 0 if there is none.
    case older(found: Int64, known: Int64)

    package var finding: String {
        switch self {
        case .older(0, _): "The database has no schema yet"
        case .older(let found, let known):
            "The database has schema version \(found), and this program needs \(known)"
        case .newer(let found, let known):
            "The database has schema version \(found), but this program knows only up to \(known)"
        }
    }

    package var advice: String {
        switch self {
        case .older: "Run 'strata migrate', which brings it up to date, as the start of 'strata serve' does"
        case .newer: "Run the newer strata that wrote it; an older one must not touch its data"
        }
    }

    package var description: String { "\(finding). \(advice)." }
}

extension SQLTransaction {
    /// The last migration that ran, 0 if none did. There must be a table of them.
    func schemaVersion() throws -> Int64 {
        try run("SELECT max(version) FROM schema_migration").first?.optionalInt(0) ?? 0
    }

    /// The id of a repository, or nil if nothing was ever pushed to it.
    func repositoryID(_ name: RepositoryName) throws -> Int64? {
        try run("SELECT id FROM repository WHERE name = \(name)").first?.int(0)
    }

    /// The id of a repository, which exists from now on.
    func makeRepository(_ name: RepositoryName) throws -> Int64 {
        guard let id = try makeRepositories([name])[name] else { throw SQLError.conflict }
        return id
    }
}

extension MetadataStore {
    /// What an error of the database means to a client; nil for an error of another kind.
    package static func trouble(_ error: any Error) -> Trouble? {
        switch error as? SQLError {
        case .storageFull: .storageFull
        case .unavailable, .outcomeUnknown, .conflict: .unavailable
        case .failed: .failed
        case nil: nil
        }
    }

    package enum Trouble: Sendable {
        case storageFull
        /// A try in a moment may work. Everything that clients do may be done twice.
        case unavailable
        case failed
    }
}
