package import OCI
import Retention
import SQLStore

// A round of the policies writes down when tags will go, for those who pull them, and takes it back in the next one if that
// has changed. Where no policy holds any more there is no plan that could tell.
extension MetadataStore {
    /// The repositories with tags of which clients are told that they will go, in the order of their names, after `last`.
    package func repositoriesWithAnnouncements(after last: String, limit: Int) async throws -> [RepositoryName] {
        try await database.read { db in
            try db.run(
                """
                SELECT r.name FROM repository r WHERE r.name > \(last)
                AND EXISTS (SELECT 1 FROM tag t WHERE t.repo_id = r.id AND t.expires_at IS NOT NULL)
                ORDER BY r.name LIMIT \(Int64(limit))
                """
            ).map { try RepositoryName(parsing: $0.text(0)) }
        }
    }

    /// Takes back what clients are told of the tags of a repository, if no policy holds there.
    package func withdrawAnnouncements(of repository: RepositoryName) async throws {
        let most = database.dialect.backgroundRows
        var isDone = false
        while !isDone {
            isDone = try await database.write { db in
                guard let repo = try db.repositoryID(repository), try db.policies(applyingTo: repository).isEmpty else {
                    return true
                }
                // In the order of names, as pushes lock them.
                let names = try db.run(
                    """
                    SELECT name FROM tag WHERE repo_id = \(repo) AND expires_at IS NOT NULL
                    ORDER BY name LIMIT \(Int64(most)) \(lock: .update)
                    """
                ).map { $0.text(0) }
                try db.inBatches(names) {
                    "UPDATE tag SET expires_at = NULL WHERE repo_id = \(repo) AND name IN \(list: $0)"
                }
                return names.count < most
            }
        }
    }
}
