import Metadata
import OCI
import SQLStore
import Testing

@Suite("Metadata")
struct MetadataStoreTests {
    private let repository: RepositoryName
    private let other: RepositoryName

    init() throws {
        repository = try RepositoryName(parsing: "team/app")
        other = try RepositoryName(parsing: "team/other")
    }

    private func content(_ text: String) -> (Digest, [UInt8]) { (Digest(hashing: Array(text.utf8)), Array(text.utf8)) }

    @Test("is migrated once, and refuses a schema that is newer than the program", arguments: Engine.available)
    func migrates(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let again = try await store.migrate()
            #expect(again == [])
            try await database.write { db in
                try db.run("INSERT INTO schema_migration (version, name, applied_at) VALUES (99, 'future', 0)")
            }
            await #expect(throws: SchemaError.self) { try await store.migrate() }
        }
    }

    @Test(
        "publishes an object's key: it leaves the trash in the same commit, and the loser of a race stays there",
        arguments: Engine.available
    )
    func keys(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            let (digest, _) = content("layer")
            let keys: [[UInt8]] = [Array(repeating: 1, count: 16), Array(repeating: 2, count: 16)]
            try await store.registerKeys(keys)
            #expect(try await store.commit(digest, size: 5, at: .object(keys[0]), in: repository))
            #expect(try await !store.commit(digest, size: 5, at: .object(keys[1]), in: other))
            #expect(try await store.blob(digest, in: other, promising: false).location == .object(keys[0]))
            #expect(try await store.knows(key: keys[1]))
            #expect(try await store.claim(keys) == [keys[1]], "the other is published")
            try await store.forget([keys[1]])
            #expect(try await !store.knows(key: keys[1]))
            #expect(try await store.violations() == [])
        }
    }

    @Test(
        "promises a manifest that is pushed by its digest for the window, each time anew; under a tag the tag keeps it",
        arguments: Engine.available
    )
    func pushed(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let images = Images(store: store, database: database)
            let left: @Sendable () async throws -> Int64 = {
                try await database.read { db in try db.run("SELECT keep_until - \(db.now) FROM manifest")[0].int(0) }
            }
            let window = 6 * 3_600_000 as Int64
            let image = try await images.image(["layer"], nil, in: repository)
            #expect(try await (window - 60_000...window).contains(left()))
            try await database.write { try $0.run("UPDATE manifest SET keep_until = 0") }
            try await images.push(image, "v1", in: repository)
            #expect(try await left() < 0)
            try await images.push(image, nil, in: repository)
            #expect(try await (window - 60_000...window).contains(left()))
            try await database.write { try $0.run("UPDATE manifest SET keep_until = 0") }
            try await store.deleteTag(try Tag(parsing: "v1"), in: repository)
            #expect(try await (window - 60_000...window).contains(left()))
        }
    }

    @Test("refuses a key that is not in the trash: its upload was given up", arguments: Engine.available)
    func condemnedKey(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            let (digest, _) = content("late")
            await #expect(throws: RegistryError.self) {
                try await store.commit(digest, size: 4, at: .object([7]), in: repository)
            }
            await #expect(throws: RegistryError.self) { try await store.blob(digest, in: repository, promising: false) }
        }
    }

    @Test("keeps a write that fails from taking with it the others of its commit", arguments: Engine.available)
    func savepoints(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            let (config, bytes) = content("{}")
            let outcomes = await withTaskGroup(of: Bool.self) { group in
                for number in 0..<100 {
                    group.addTask {
                        do {
                            // Every second one names a key that does not exist.
                            let location: BlobLocation = number.isMultiple(of: 2) ? .inline(bytes) : .object([9])
                            let name = try RepositoryName(parsing: "r\(number)")
                            _ = try await store.commit(config, size: 2, at: location, in: name)
                            return true
                        } catch {
                            return false
                        }
                    }
                }
                return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(outcomes == 50)
            let names = try await store.repositories(after: "", limit: 200)
            #expect(names.json.split(separator: ",").count == 50)
        }
    }

    @Test(
        "extends the lease of an unreferenced blob when it promises, so that a HEAD is good for the window",
        arguments: Engine.available
    )
    func promises(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let (digest, bytes) = content("config")
            _ = try await store.commit(digest, size: 6, at: .inline(bytes), in: repository)
            let lease: @Sendable () async throws -> Int64 = {
                try await database.read { db in try db.run("SELECT lease_until - \(db.now) FROM repo_blob")[0].int(0) }
            }
            try await database.write { db in try db.run("UPDATE repo_blob SET lease_until = \(db.now)") }
            _ = try await store.blob(digest, in: repository, promising: false)
            #expect(try await lease() <= 0)
            _ = try await store.blob(digest, in: repository, promising: true)
            #expect(try await lease() > 6 * 3_600_000)
        }
    }

    @Test(
        "opens the indexes that listed a manifest before it was pushed, and lists it as missing when it goes",
        arguments: Engine.available
    )
    func sparseIndex(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let (config, bytes) = content("{}")
            _ = try await store.commit(config, size: 2, at: .inline(bytes), in: repository)
            let image = try Manifest(
                decoding: Array(#"{"schemaVersion":2,"config":{"digest":"\#(config)","size":2}}"#.utf8),
                declaredType: MediaType.imageManifest
            )
            let index = try Manifest(
                decoding: Array(#"{"schemaVersion":2,"manifests":[{"digest":"\#(image.digest)","size":9}]}"#.utf8),
                declaredType: MediaType.imageIndex
            )
            let push: @Sendable (Manifest, Bool) -> ManifestPush = {
                ManifestPush(manifest: $0, tags: [], condition: .none, allowsSparseIndex: $1)
            }
            await #expect(throws: RegistryError.self) { try await store.put(push(index, false), in: repository) }
            try await store.put(push(index, true), in: repository)
            let missing: @Sendable () async throws -> Int = {
                try await database.read { try $0.run("SELECT 1 FROM manifest_child WHERE child_id IS NULL").count }
            }
            #expect(try await missing() == 1)
            try await store.put(push(image, false), in: repository)
            #expect(try await missing() == 0)
            try await store.deleteManifest(image.digest, in: repository)
            #expect(try await missing() == 1)
            #expect(try await store.violations() == [])
        }
    }
}
