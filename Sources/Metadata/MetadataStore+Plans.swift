import OCI
import SQLStore

/// A query that every request, or every round of a collector, needs runs without an index.
package struct PlanError: Error, Hashable, CustomStringConvertible {
    /// What the queries are for, and the columns that no index serves.
    package let missing: [Missing]

    package struct Missing: Hashable, Sendable {
        package let query: String
        package let table: String
        package let columns: [String]
    }

    package var finding: String {
        missing.map { "no index serves the query for \($0.query): it would read all of \($0.table)" }
            .joined(separator: "; ")
    }

    package var advice: String {
        let indexes = missing.map { "\($0.table) (\($0.columns.joined(separator: ", ")))" }
        return "An index of the schema was dropped or is not valid; create it again, as on "
            + indexes.joined(separator: " and ")
    }

    package var description: String { "\(finding). \(advice)." }
}

extension MetadataStore {
    /// Asks the engine how it would run the queries whose cost must not grow with the database. Indexes get lost: in
    /// restores by hand, in rebuilds that failed, to somebody who looked for room.
    ///
    /// - Throws: ``PlanError``.
    package func checkPlans() async throws {
        let dialect = database.dialect
        let queries = try Self.hotQueries()
        let missing = try await database.snapshot { db in
            for setting in dialect.planSettings { try db.run(setting) }
            let indexes = try Indexes(db, dialect)
            return try queries.flatMap { hot in
                let plan = try db.run(hot.query.explained(by: dialect)).map { $0.text(dialect.planColumn) }
                let readsAll = plan.contains { $0.contains(dialect.scan) }
                return hot.searches.filter { readsAll || !indexes.serve($0, in: plan, dialect) }.map {
                    PlanError.Missing(query: hot.purpose, table: $0.table, columns: $0.columns)
                }
            }
        }
        guard missing.isEmpty else { throw PlanError(missing: missing) }
    }

    /// The indexes that there are, where plans do not tell which ones they could use.
    private struct Indexes {
        private struct Index {
            let table: String
            var columns: [String]
        }

        private let known: [Index]?

        init(_ db: any SQLTransaction, _ dialect: SQLDialect) throws {
            known = try dialect.indexes.map { query in
                Dictionary(grouping: try db.run(query)) { $0.text(1) }.values.map { rows in
                    Index(table: rows[0].text(0), columns: rows.map { $0.text(2) })
                }
            }
        }

        /// Whether an index begins with the columns, in whatever order.
        func serve(_ search: (table: String, columns: [String]), in plan: [String], _ dialect: SQLDialect) -> Bool {
            guard let known else {
                return plan.contains { line in
                    line.contains(dialect.search) && search.columns.allSatisfy { line.contains($0) }
                }
            }
            return known.contains {
                $0.table == search.table && Set($0.columns.prefix(search.columns.count)) == Set(search.columns)
            }
        }
    }

    struct HotQuery: Sendable {
        let purpose: String
        let query: Query
        /// The tables that it searches, each by all of these columns of one index.
        let searches: [(table: String, columns: [String])]
    }

    /// With values of the right kind; there need not be such rows.
    static func hotQueries() throws -> [HotQuery] {
        let repository = try RepositoryName(parsing: "a")
        let digest = Digest(hashing: [])
        return [
            HotQuery(
                purpose: "a manifest by tag",
                query: .manifest(try Tag(parsing: "a"), in: repository),
                searches: [("repository", ["name"]), ("tag", ["repo_id", "name"]), ("manifest", ["id"])]
            ),
            HotQuery(
                purpose: "a manifest by digest",
                query: .manifest(digest, in: repository),
                searches: [("repository", ["name"]), ("manifest", ["repo_id", "digest"])]
            ),
            HotQuery(
                purpose: "a blob of a repository",
                query: .blob(digest, in: repository, leasedUntil: 0),
                searches: [("repo_blob", ["repo_id", "digest"]), ("manifest_blob", ["link_id"])]
            ),
            HotQuery(
                purpose: "the blobs that a pushed manifest lists",
                query: .links(to: [digest, Digest(hashing: [1])], in: 1),
                searches: [("repo_blob", ["repo_id", "digest"])]
            ),
            HotQuery(
                purpose: "a mount from any repository",
                query: .anyLink(to: digest),
                searches: [("repo_blob", ["digest"])]
            ),
            HotQuery(
                purpose: "the manifests that list a blob",
                query: .anyManifest(listing: 1),
                searches: [("manifest_blob", ["link_id"])]
            ),
            HotQuery(
                purpose: "a page of tags",
                query: .tags(of: 1, after: "a", limit: 100),
                searches: [("tag", ["repo_id", "name"])]
            ),
            HotQuery(
                purpose: "a page of the catalog",
                query: .repositories(after: "a", limit: 100),
                searches: [("repository", ["name"])]
            ),
            HotQuery(
                purpose: "a page of referrers",
                query: .referrers(to: digest, in: 1, artifactType: nil, after: [], limit: 100),
                searches: [("manifest", ["repo_id", "subject", "digest"])]
            ),
        ] + collectorQueries()
    }

    private static func collectorQueries() -> [HotQuery] {
        [
            HotQuery(
                purpose: "what the collector has to look at",
                query: .dueHints(.link, before: 1, limit: 20),
                searches: [("gc_hint", ["kind", "due_at"])]
            ),
            HotQuery(
                purpose: "objects that may be deleted",
                query: .dueTrash(before: 1, limit: 20),
                searches: [("object_trash", ["region", "delete_after"])]
            ),
            HotQuery(
                purpose: "the tags that were deleted with a manifest",
                query: .tags(of: Digest(hashing: []), deletedAt: [1], in: 1),
                searches: [("deleted_tag", ["repo_id", "digest"])]
            ),
            HotQuery(
                purpose: "whether a manifest has a name",
                query: .name(ofManifest: 1),
                searches: [("tag", ["manifest_id"]), ("manifest_child", ["child_id"])]
            ),
        ]
    }
}
