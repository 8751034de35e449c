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
            let wanted = counts.compactMap { pulled, count in
                ids[pulled.repository.text].map { PulledRow(repo: $0, pulled.reference, count) }
            }
            let pulls = try db.existing(wanted)
            try db.inBatches(pulls) { some in
                """
                INSERT INTO pull_stat (repo_id, reference, pulls, last_at)
                VALUES \(rows: some.map {
                    [$0.repo.sqlValue, $0.text.sqlValue, $0.count.sqlValue, db.now.sqlValue]
                })
                ON CONFLICT (repo_id, reference)
                DO UPDATE SET pulls = pull_stat.pulls + excluded.pulls, last_at = excluded.last_at
                """
            }
        }
    }
}

private struct PulledRow {
    let repo: Int64
    let reference: Reference
    let count: Int64

    init(repo: Int64, _ reference: Reference, _ count: Int64) {
        (self.repo, self.reference, self.count) = (repo, reference, count)
    }

    var text: String { "\(reference)" }
    var digest: Digest? { if case .digest(let digest) = reference { digest } else { nil } }
    var tag: String? { if case .tag(let tag) = reference { tag.text } else { nil } }
}

extension SQLTransaction {
    /// Those whose tag or manifest is there: what was deleted since it was pulled has lost its counts, and one of the same
    /// name that comes later begins anew. They stay until the end, so that whoever deletes one finds its counts. In one order,
    /// so that two nodes that write theirs down cannot wait for each other.
    fileprivate func existing(_ pulls: [PulledRow]) throws -> [PulledRow] {
        try Dictionary(grouping: pulls, by: \.repo).sorted { $0.key < $1.key }.flatMap { repo, pulls in
            let tags = try inBatches(pulls.compactMap(\.tag).sorted()) {
                "SELECT name FROM tag WHERE repo_id = \(repo) AND name IN \(list: $0) ORDER BY name \(lock: .keyShare)"
            }
            let digests = try inBatches(pulls.compactMap(\.digest).sorted()) {
                """
                SELECT digest FROM manifest WHERE repo_id = \(repo) AND digest IN \(list: $0)
                ORDER BY digest \(lock: .keyShare)
                """
            }
            let found = Set(tags.map { $0.text(0) } + digests.map { "\($0.digest(0))" })
            // Tags before digests, as deletions forget them.
            let sorted = pulls.sorted { ($0.digest == nil ? 0 : 1, $0.text) < ($1.digest == nil ? 0 : 1, $1.text) }
            return sorted.filter { found.contains($0.text) }
        }
    }

    /// One of the same name that comes later begins anew.
    func forgetPulls(of reference: String, in repo: Int64) throws {
        try run("DELETE FROM pull_stat WHERE repo_id = \(repo) AND reference = \(reference)")
    }
}
