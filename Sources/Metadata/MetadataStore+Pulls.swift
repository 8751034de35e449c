package import OCI
import SQLStore

/// A tag or a digest of a repository, as clients ask for it.
package struct PulledReference: Hashable, Sendable {
    package let repository: RepositoryName
    package let reference: Reference

    package init(_ reference: Reference, in repository: RepositoryName) {
        (self.repository, self.reference) = (repository, reference)
    }
}

extension MetadataStore {
    /// Adds to how often references were pulled; now is when they last were. What is gone by now is left out.
    package func addPulls(_ counts: [PulledReference: Int64]) async throws {
        try await database.write { db in
            let names = Set(counts.keys.map(\.repository)).sorted { $0.text < $1.text }
            let rows = try db.inBatches(names.map(\.text)) {
                "SELECT name, id FROM repository WHERE name IN \(list: $0)"
            }
            let ids = Dictionary(rows.map { ($0.text(0), $0.int(1)) }, uniquingKeysWith: { first, _ in first })
            let pulls = counts.compactMap { pulled, count in
                let kind = if case .tag = pulled.reference { 0 } else { 1 }
                return ids[pulled.repository.text].map {
                    (repo: $0, kind: kind, reference: "\(pulled.reference)", count: count)
                }
            }
            // In one order, so that two nodes that write theirs down cannot wait for each other; tags before digests, as
            // deletions forget them.
            let sorted = pulls.sorted { ($0.repo, $0.kind, $0.reference) < ($1.repo, $1.kind, $1.reference) }
            try db.inBatches(sorted) { some in
                """
                INSERT INTO pull_stat (repo_id, reference, pulls, last_at)
                VALUES \(rows: some.map {
                    [$0.repo.sqlValue, $0.reference.sqlValue, $0.count.sqlValue, db.now.sqlValue]
                })
                ON CONFLICT (repo_id, reference)
                DO UPDATE SET pulls = pull_stat.pulls + excluded.pulls, last_at = excluded.last_at
                """
            }
        }
    }
}

extension SQLTransaction {
    /// One of the same name that comes later begins anew.
    func forgetPulls(of reference: String, in repo: Int64) throws {
        try run("DELETE FROM pull_stat WHERE repo_id = \(repo) AND reference = \(reference)")
    }
}
