import Metadata
import SQLStore
import Testing

@Suite("The plans of hot queries")
struct PlanTests {
    @Test("use an index on an empty database", arguments: Engine.available)
    func pass(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in try await store.checkPlans() }
    }

    /// An index of the schema and what cannot do without it.
    struct Loss: CustomTestStringConvertible, Sendable {
        let index: String
        let queries: Set<String>
        var testDescription: String { index }
    }

    private static let losses = [
        Loss(index: "repo_blob_digest", queries: ["a mount from any repository"]),
        Loss(index: "manifest_blob_link", queries: ["the manifests that list a blob", "a blob of a repository"]),
        // Another index begins with the repository too: it would do, one manifest after the other.
        Loss(index: "manifest_subject", queries: ["a page of referrers"]),
        Loss(index: "gc_hint_due", queries: ["what the collector has to look at"]),
        Loss(index: "object_trash_due", queries: ["objects that may be deleted"]),
        Loss(index: "deleted_tag_digest", queries: ["the tags that were deleted with a manifest"]),
    ]

    @Test("are refused where an index is gone, by the name of the query", arguments: Engine.available, losses)
    func refuse(_ engine: Engine, _ loss: Loss) async throws {
        try await engine.withStore { store, database in
            try await database.write { db in try db.run(Query(schema: "DROP INDEX \(loss.index)")) }
            do {
                try await store.checkPlans()
                Issue.record("nothing was missed")
            } catch let error as PlanError {
                #expect(Set(error.missing.map(\.query)) == loss.queries)
                #expect(error.description.contains(loss.queries.first ?? ""))
            }
        }
    }
}
