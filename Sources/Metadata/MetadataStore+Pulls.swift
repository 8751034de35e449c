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
    ///
    /// - Returns: those that somebody is about to move or to delete, which are to be added later.
    @discardableResult
    package func addPulls(_ counts: [PulledReference: Int64]) async throws -> [PulledReference] {
        try await database.write { db in
            let names = Set(counts.keys.map(\.repository)).sorted { $0.text < $1.text }
            let rows = try db.inBatches(names.map(\.text)) {
                "SELECT name, id FROM repository WHERE name IN \(list: $0)"
            }
            let ids = Dictionary(rows.map { ($0.text(0), $0.int(1)) }, uniquingKeysWith: { first, _ in first })
            let wanted = counts.compactMap { pulled, count in
                ids[pulled.repository.text].map { PulledRow(repo: $0, pulled.reference, count) }
            }
            let (pulls, busy) = try db.existing(wanted)
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
            return counts.keys.filter {
                busy.contains(PulledRow.Key(repo: ids[$0.repository.text], reference: $0.reference))
            }
        }
    }
}

private struct PulledRow {
    struct Key: Hashable {
        let repo: Int64?
        let reference: Reference
    }

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
    /// name that comes later begins anew. They stay until the end, so that whoever deletes one finds its counts; nobody is
    /// waited for, lest all that are held by then keep others waiting. In one order, so that two nodes that write theirs down
    /// cannot wait for each other.
    fileprivate func existing(_ pulls: [PulledRow]) throws -> (held: [PulledRow], busy: Set<PulledRow.Key>) {
        var (held, busy): ([PulledRow], Set<PulledRow.Key>) = ([], [])
        for (repo, pulls) in Dictionary(grouping: pulls, by: \.repo).sorted(by: { $0.key < $1.key }) {
            let free = try names(of: pulls, in: repo) {
                "SELECT name FROM tag WHERE repo_id = \(repo) AND name IN \(list: $0) \(lock: .keyShareUnlessLocked)"
            } digests: {
                "SELECT digest FROM manifest WHERE repo_id = \(repo) AND digest IN \(list: $0) \(lock: .keyShareUnlessLocked)"
            }
            let rest = try names(of: pulls.filter { !free.contains($0.text) }, in: repo) {
                "SELECT name FROM tag WHERE repo_id = \(repo) AND name IN \(list: $0)"
            } digests: {
                "SELECT digest FROM manifest WHERE repo_id = \(repo) AND digest IN \(list: $0)"
            }
            // Tags before digests, as deletions forget them.
            let sorted = pulls.sorted { ($0.digest == nil ? 0 : 1, $0.text) < ($1.digest == nil ? 0 : 1, $1.text) }
            held += sorted.filter { free.contains($0.text) }
            busy.formUnion(pulls.filter { rest.contains($0.text) }.map { .init(repo: repo, reference: $0.reference) })
        }
        return (held, busy)
    }

    private func names(
        of pulls: [PulledRow],
        in repo: Int64,
        tags: ([String]) -> Query,
        digests: ([Digest]) -> Query
    ) throws -> Set<String> {
        let names = try inBatches(pulls.compactMap(\.tag), tags).map { $0.text(0) }
        return Set(names + (try inBatches(pulls.compactMap(\.digest), digests).map { "\($0.digest(0))" }))
    }

    /// One of the same name that comes later begins anew.
    func forgetPulls(of reference: String, in repo: Int64) throws {
        try run("DELETE FROM pull_stat WHERE repo_id = \(repo) AND reference = \(reference)")
    }
}
