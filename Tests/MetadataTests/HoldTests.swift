import Metadata
import OCI
import Retention
import SQLStore
import Testing

@Suite("Holds")
struct HoldTests {
    @Test("are a thousand in a repository at most, each of which still gets a new reason", arguments: Engine.available)
    func limited(_ engine: Engine) async throws {
        let repository = try RepositoryName(parsing: "team/app")
        try await Images.with(engine) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            func hold(_ tag: String, _ reason: String) async throws -> StoredHold {
                let hold = RetentionHold(kind: .legal, subject: try .init(parsing: tag), reason: reason)
                return try await images.store.setHold(hold, in: repository)
            }
            let first = try await hold("v1", "case 7")
            try await images.database.write {
                try $0.run(
                    """
                    INSERT INTO retention_hold (repo_id, subject, kind, reason, created_at)
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 998)
                    SELECT h.repo_id, 'w' || n.i, h.kind, 'many', 0 FROM retention_hold h, n
                    """
                )
            }
            _ = try await hold("v2", "the thousandth")
            #expect(try await hold("v1", "case 8").id == first.id)
            await #expect(throws: RegistryError.self) { _ = try await hold("v3", "one too many") }
        }
    }
}
