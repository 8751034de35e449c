@testable import Metadata
import OCI
@testable import SQLStore
import Testing

@Suite("What many images run on")
struct PlatformTests {
    /// Counts what is asked.
    private final class Counted: SQLTransaction {
        let transaction: any SQLTransaction
        var queries = 0

        init(_ transaction: any SQLTransaction) { self.transaction = transaction }

        var now: Int64 { transaction.now }
        var changes: Int { transaction.changes }
        var bindsLists: Bool { transaction.bindsLists }

        func run(_ query: Query) throws -> [SQLRow] {
            queries += 1
            return try transaction.run(query)
        }

        func start(_ query: Query) throws -> StartedQuery {
            queries += 1
            return try transaction.start(query)
        }

        func rows(of query: StartedQuery) throws -> [SQLRow] { try transaction.rows(of: query) }

        func texts(_ query: Query, joinedBy separator: String) throws -> (count: Int, joined: String) {
            try transaction.texts(query, joinedBy: separator)
        }
    }

    @Test("is asked in few queries", arguments: Engine.available)
    func batches(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let repository = try RepositoryName(parsing: "team/app")
            for number in 1...40 {
                // Some share their configuration.
                let config = #"{"os":"linux","architecture":"a\#(number / 2)"}"#
                _ = try await images.image(["layer \(number)"], "v\(number)", config: config, in: repository)
            }
            let (found, queries) = try await images.database.read { db in
                let counted = Counted(db)
                let ids = try db.run("SELECT id FROM manifest ORDER BY id").map { $0.int(0) }
                let (found, _) = try counted.platforms(ofManifests: ids)
                return (found.sorted { $0.key < $1.key }.map(\.value), counted.queries)
            }
            #expect(found == (1...40).map { ["linux/a\($0 / 2)"] })
            // On SQLite by powers of two.
            #expect(queries <= 7, "not two for each")
        }
    }
}
