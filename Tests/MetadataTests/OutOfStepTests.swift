@testable import Metadata
import OCI
import Retention
import SQLStore
import Testing

/// Clocks that are set back, rows that do not know of each other, steps that fail each time: what only happens where several
/// processes or servers are not in step, made by hand.
@Suite("Where things are out of step")
struct OutOfStepTests {
    private let repository: RepositoryName

    init() throws { repository = try RepositoryName(parsing: "team/app") }

    @Test(
        "a client cannot delete part of what is held or has an immutable tag, though an index in between missed its child",
        arguments: Engine.available
    )
    func missedChild(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], nil, in: repository)
            let inner = try await images.index([image], nil, in: repository)
            let outer = try await images.index([inner], "v1", in: repository)
            try await images.database.write {
                try $0.run("UPDATE manifest_child SET child_id = NULL WHERE child_digest = \(inner.digest)")
            }
            let hold = RetentionHold(kind: .legal, subject: .digest(outer.digest), reason: "case 7")
            let held = try await images.store.setHold(hold, in: repository)
            await #expect(throws: RegistryError.self) {
                try await images.store.deleteManifest(image.digest, in: repository)
            }
            try await images.store.releaseHold(held.id, in: repository)
            let policy = try RetentionPolicy(decoding: #"{"version":1,"immutable":["v*"]}"#.utf8)
            _ = try await images.store.setPolicy(policy, of: .registry)
            await #expect(throws: RegistryError.self) {
                try await images.store.deleteManifest(image.digest, in: repository)
            }
            _ = try await images.store.setPolicy(nil, of: .registry)
            try await images.store.deleteManifest(image.digest, in: repository)
        }
    }

    @Test("a rule lets go of what was pushed before the clock was set back", arguments: Engine.available)
    func clockSetBack(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            try await images.database.write { try $0.run("UPDATE manifest SET created_at = created_at + 3600000") }
            _ = try await images.store.apply(plan, cause: "request")
            try await images.collect()
            #expect(try await images.count("manifest") == 0)
        }
    }

    @Test("what went with an index comes back with it, though its node's clock was behind", arguments: Engine.available)
    func restoredTogether(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], nil, in: repository)
            let index = try await images.index([image], "v1", in: repository)
            try await images.setRules(Images.deleteAll)
            _ = try await images.store.apply(try await images.plan(of: repository), cause: "request")
            while try await images.store.collectCondemnedManifest().hints > 0 {}
            #expect(try await images.count("manifest") == 0)
            try await images.database.write {
                try $0.run("UPDATE deleted_manifest SET deleted_at = deleted_at - 5000 WHERE digest = \(image.digest)")
            }
            let restored = try await images.store.restore(.digest(index.digest), in: repository)
            #expect(Set(restored.manifests) == [image.digest, index.digest])
        }
    }

    @Test("rules delete nothing from a repository that was deleted meanwhile", arguments: Engine.available)
    func deletedMeanwhile(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            try await images.store.deleteRepository(repository)
            await #expect(throws: RegistryError.self) { _ = try await images.store.apply(plan, cause: "request") }
            try await images.store.restoreRepository(repository)
            #expect(try await images.tags(of: repository) == ["v1"])
        }
    }

    @Test("a deleted repository that is still whole can be put back when its time is over", arguments: Engine.available)
    func wholeRepository(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            try await images.store.deleteRepository(repository)
            try await images.store.restoreRepository(repository)
            #expect(try await images.tags(of: repository) == ["v1"])
            try await images.store.deleteRepository(repository)
            _ = try await images.store.purgeRepository(limit: 1)
            await #expect(throws: RegistryError.self) { try await images.store.restoreRepository(repository) }
        }
    }

    @Test("a blob's object is nobody's to delete, were its key in the trash", arguments: Engine.available)
    func publishedKey(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let digest = Digest(hashing: [1])
            let keys: [[UInt8]] = [1, 2].map { Array(repeating: $0, count: 16) }
            try await images.database.write { db in
                try db.run("INSERT INTO blob (digest, size, created_at) VALUES (\(digest), 1, 0)")
                try db.run("INSERT INTO blob_copy (digest, skey) VALUES (\(digest), \(keys[0]))")
                for key in keys { try db.run("INSERT INTO object_trash (skey, delete_after) VALUES (\(key), 0)") }
            }
            let claimed = try await images.store.claimTrash(limit: 10)
            #expect(claimed.count == 2)
            #expect(try await images.store.confirm(claimed).map(\.key) == [keys[1]])
        }
    }

    @Test("a manifest that cannot be removed does not keep others from going", arguments: Engine.available)
    func failingStep(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let bad = try await images.image(["bad"], "v0", in: repository)
            for number in 1...4 { _ = try await images.image(["\(number)"], "v\(number)", in: repository) }
            try await images.setRules(Images.deleteAll)
            _ = try await images.store.apply(try await images.plan(of: repository), cause: "request")
            let id = try await images.database.read { db in
                try db.run("SELECT id FROM manifest WHERE digest = \(bad.digest)").first?.int(0) ?? 0
            }
            // Whoever removes this one fails.
            try await images.database.write { db in
                try db.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 4 AND ref = \(id)")
                try db.run("CREATE TABLE another (manifest_id BIGINT REFERENCES manifest (id))")
                try db.run("INSERT INTO another (manifest_id) VALUES (\(id))")
            }
            await #expect(throws: SQLError.self) { _ = try await images.store.collectCondemnedManifest() }
            // The next ones are others.
            for _ in 1...4 { #expect(try await images.store.collectCondemnedManifest().removed == 1) }
            #expect(try await images.store.collectCondemnedManifest() == Collected())
            try await images.database.write { db in
                try db.run("DROP TABLE another")
                try db.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 4")
            }
            #expect(try await images.store.collectCondemnedManifest().removed == 1)
        }
    }
}
