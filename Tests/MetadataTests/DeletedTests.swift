import Metadata
import OCI
import SQLStore
import Testing

@Suite("What was deleted")
struct DeletedTests {
    private let repository: RepositoryName

    init() throws { repository = try RepositoryName(parsing: "team/app") }

    private func with(_ engine: Engine, _ body: @Sendable (CollectionFixture) async throws -> Void) async throws {
        try await engine.withStore { store, database in
            try await body(CollectionFixture(store: store, database: database))
        }
    }

    private func pushImage(_ layer: String, _ tag: String, _ fixture: CollectionFixture) async throws -> Manifest {
        for blob in ["config", layer] { _ = try await fixture.upload(blob, to: repository) }
        let image = try fixture.image("config", [layer])
        try await fixture.push(image, tag, to: repository)
        return image
    }

    @Test(
        "is every repository of a name, each of which can be put back by when it was deleted",
        arguments: Engine.available
    )
    func generations(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            let store = fixture.store
            let old = try await pushImage("old", "v1", fixture)
            try await store.deleteRepository(repository)
            try await fixture.database.write {
                try $0.run("UPDATE deleted_repository SET deleted_at = deleted_at - 1000")
            }
            _ = try await pushImage("new", "v1", fixture)
            await #expect(throws: RegistryError.self) { try await store.restoreRepository(repository) }
            try await store.deleteRepository(repository)

            let first = try await store.deletedRepositories(after: nil, limit: 1)
            let rest = try await store.deletedRepositories(after: first.last?.key, limit: 10)
            let all = first + rest
            #expect(all.map(\.name) == ["team/app", "team/app"])
            let times = all.map(\.deletedAt)
            #expect(times == times.sorted() && Set(times).count == 2)
            await #expect(throws: RegistryError.self) {
                try await store.restoreRepository(repository, deletedAt: times[0] - 1)
            }
            try await store.restoreRepository(repository, deletedAt: times[0])
            let tag = Reference.tag(try Tag(parsing: "v1"))
            #expect(try await store.manifest(tag, in: repository, promising: false).bytes == old.bytes)
            #expect(try await store.deletedRepositories(after: nil, limit: 10).map(\.deletedAt) == [times[1]])
        }
    }

    @Test("explains what a deleted repository has", arguments: Engine.available)
    func explained(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            let image = try await pushImage("layer", "v1", fixture)
            try await fixture.store.deleteRepository(repository)
            for digest in [image.digest, Digest(hashing: Array("layer".utf8))] {
                let deleted = try await fixture.store.explain(digest).deleted
                #expect(deleted.map(\.repository) == ["team/app"])
                #expect(deleted.allSatisfy { $0.tag == nil && $0.restorableUntil > $0.deletedAt })
            }
        }
    }

    @Test(
        "is a tag for as long as the manifest can be put back that a rule deletes after it",
        arguments: Engine.available
    )
    func tags(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            let image = try await pushImage("layer", "v1", fixture)
            let tag = try Tag(parsing: "v1")
            try await fixture.store.deleteTag(tag, in: repository)
            // Twelve hours later, when the promise of the push is over, the manifest goes.
            try await fixture.database.write { db in
                try db.run("UPDATE deleted_tag SET restorable_until = restorable_until - 43200000")
                try db.run("UPDATE manifest SET created_at = 0, keep_until = 0")
                try db.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 1")
            }
            try await fixture.setUntaggedRule(days: 1)
            #expect(try await fixture.store.collectReleasedManifests(limit: 20).removed == 1)
            // And four hours after that somebody misses it.
            try await fixture.database.write { db in
                try db.run("UPDATE deleted_tag SET restorable_until = restorable_until - 14400000")
                try db.run("UPDATE deleted_manifest SET restorable_until = restorable_until - 14400000")
            }
            _ = try await fixture.store.forgetDeleted(limit: 20)
            let restored = try await fixture.store.restore(.tag(tag), in: repository)
            #expect(restored.tags == [tag] && restored.manifests == [image.digest])
        }
    }

    @Test("lists a tag for as long as its manifest is there or can be put back", arguments: Engine.available)
    func listedTags(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            let store = fixture.store
            let (hour, window) = (Int64(3_600_000), Int64(6 * 3_600_000))
            let image = try await pushImage("layer", "a", fixture)
            let other = try await pushImage("other", "c", fixture)
            for tag in ["b", "d", "e"] { try await fixture.push(image, tag, to: repository) }
            for tag in ["a", "b", "c", "d", "e"] { try await store.deleteTag(try Tag(parsing: tag), in: repository) }
            try await fixture.push(image, "d", to: repository)
            try await store.deleteManifest(other.digest, in: repository)
            let before = try await store.deletedEntries(in: repository, after: nil, limit: 10)
            #expect(before.map(\.tag) == ["a", "b", "c", "d", "e", nil])
            // Seven hours later: d was pushed again, and what it was is not put back by its name.
            try await fixture.database.write { db in
                try db.run("UPDATE deleted_tag SET restorable_until = restorable_until - \(7 * hour)")
                try db.run("UPDATE manifest SET keep_until = 0")
            }
            var pages: [DeletedEntry] = []
            repeat {
                pages += try await store.deletedEntries(in: repository, after: pages.last?.key, limit: 2)
            } while pages.count.isMultiple(of: 2) && pages.count < 10
            #expect(pages.map(\.tag) == ["a", "b", "c", "e", nil])
            let manifest = try #require(pages.last)
            #expect(manifest.digest == "\(other.digest)" && pages[2].restorableUntil == manifest.restorableUntil)
            let now = try await store.explain(image.digest).askedAt
            #expect(((now + window - hour)...(now + window)).contains(pages[0].restorableUntil))
            for entry in pages.prefix(4) {
                let tag = try Tag(parsing: try #require(entry.tag))
                #expect(try await store.restore(.tag(tag), in: repository).tags == [tag])
            }
            // What is forgotten next is not promised.
            try await store.deleteTag(try Tag(parsing: "a"), in: repository)
            try await fixture.database.write { db in
                try db.run("UPDATE deleted_tag SET restorable_until = restorable_until - \(window + 14 * hour)")
            }
            let last = try #require(try await store.deletedEntries(in: repository, after: nil, limit: 10).first)
            #expect(last.tag == "a" && last.restorableUntil < now + hour)
        }
    }

    @Test("says which of the tags that come back a rule had deleted", arguments: Engine.available)
    func tagsOfRules(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let image = try await images.image(["layer"], "a", in: repository)
            try await images.push(image, "b", in: repository)
            try await images.store.deleteTag(try Tag(parsing: "a"), in: repository)
            try await images.setRules(Images.deleteAll)
            _ = try await images.store.apply(try await images.plan(of: repository), cause: "request")
            let (a, b) = (try Tag(parsing: "a"), try Tag(parsing: "b"))
            #expect(try await images.store.restore(.tag(a), in: repository).tagsOfRules == [])
            #expect(try await images.store.restore(.tag(b), in: repository).tagsOfRules == [b])
        }
    }

    @Test("comes back to a depth of 32, and the rest when it is asked for", arguments: Engine.available)
    func chain(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            var chain = [try await images.image(["layer"], nil, in: repository)]
            for _ in 0..<40 {
                chain.append(try await images.image(["layer"], nil, subject: chain.last?.digest, in: repository))
            }
            for manifest in chain { try await images.store.deleteManifest(manifest.digest, in: repository) }
            let first = try await images.store.restore(.digest(chain[0].digest), in: repository)
            #expect(first.manifests == chain.prefix(33).map(\.digest))
            let rest = try await images.store.restore(.digest(chain[33].digest), in: repository)
            #expect(rest.manifests == chain.dropFirst(33).map(\.digest))
        }
    }
}
