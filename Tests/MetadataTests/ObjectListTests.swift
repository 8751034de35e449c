import Foundation
import Metadata
import OCI
import SQLStore
import Testing

@Suite("Published objects")
struct ObjectListTests {
    private let repository: RepositoryName

    init() throws { repository = try RepositoryName(parsing: "team/app") }

    /// Publishes a blob of `size` bytes in an object whose key is `key` sixteen times.
    private func publish(_ text: String, size: Int64, key: UInt8, in store: MetadataStore) async throws -> Digest {
        let digest = Digest(hashing: Array(text.utf8))
        let key: [UInt8] = Array(repeating: key, count: 16)
        try await store.registerKeys([key])
        #expect(try await store.commit(digest, size: size, at: .object(key), in: repository))
        return digest
    }

    @Test("are listed in the order of their keys, page by page, without what is inline", arguments: Engine.available)
    func pages(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            #expect(try await store.objects(after: [], limit: 10) == [])
            for (text, key) in [("a", 200), ("b", 3), ("c", 127), ("d", 0)] as [(String, UInt8)] {
                _ = try await publish(text, size: Int64(key), key: key, in: store)
            }
            let inline: [UInt8] = [1]
            _ = try await store.commit(Digest(hashing: inline), size: 1, at: .inline(inline), in: repository)
            let first = try await store.objects(after: [], limit: 3)
            #expect(first.map(\.size) == [0, 3, 127])
            let rest = try await store.objects(after: first.last?.key ?? [], limit: 3)
            #expect(rest.map(\.size) == [200])
            #expect(rest.first?.digest == Digest(hashing: Array("a".utf8)))
            #expect(try await store.objects(after: rest.last?.key ?? [], limit: 3) == [])
            #expect(try await store.objectCount() == 4)
        }
    }

    @Test("are told from keys that are unpublished or unknown", arguments: Engine.available)
    func published(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            _ = try await publish("a", size: 1, key: 1, in: store)
            try await store.registerKeys([[2]])
            #expect(try await store.publishes(key: Array(repeating: 1, count: 16)))
            #expect(try await !store.publishes(key: [2]))
            #expect(try await !store.publishes(key: [3]))
        }
    }

    @Test("have users: the manifests that list them, up to a limit", arguments: Engine.available)
    func users(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            let layer = try await publish("layer", size: 5, key: 1, in: store)
            let config = Array("{}".utf8)
            var pushed: [String] = []
            for name in ["b", "a", "c"] {
                let repository = try RepositoryName(parsing: name)
                _ = try await store.commit(Digest(hashing: config), size: 2, at: .inline(config), in: repository)
                #expect(try await store.mount(layer, from: nil, to: repository))
                guard name != "c" else { continue }  // which holds the blob, but no manifest that lists it
                let text = """
                    {"schemaVersion":2,"config":{"digest":"\(Digest(hashing: config))","size":2},
                    "layers":[{"digest":"\(layer)","size":5}],"annotations":{"n":"\(name)"}}
                    """
                let manifest = try Manifest(decoding: Array(text.utf8), declaredType: MediaType.imageManifest)
                let push = ManifestPush(manifest: manifest, tags: [], condition: .none, allowsSparseIndex: false)
                try await store.put(push, in: repository)
                pushed.append("\(name)@\(manifest.digest)")
            }
            let users = try await store.users(of: layer, limit: 10).map { "\($0.repository)@\($0.manifest)" }
            #expect(users.sorted() == pushed.sorted())
            #expect(try await store.users(of: layer, limit: 1).count == 1)
            #expect(try await store.users(of: Digest(hashing: []), limit: 10) == [])
        }
    }
}

@Suite("A copy of the database")
struct MetadataCopyTests {
    private func inFolder(_ body: (_ path: @Sendable (String) -> String) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("strata-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body { folder.appendingPathComponent($0).path }
    }

    @Test("is one file, has everything but upload sessions, and leaves the original as it was")
    func copies() async throws {
        try await inFolder { path in
            let original = MetadataStore(try SQLiteDatabase(path: path("original")))
            try await original.migrate()
            let repository = try RepositoryName(parsing: "team/app")
            let digest = Digest(hashing: [1])
            try await original.registerKeys([[1], [2]])
            _ = try await original.commit(digest, size: 9, at: .object([1]), in: repository)
            let upload = UploadRecord(
                id: [5],
                repository: repository,
                received: 3,
                hashState: [],
                location: .object([2])
            )
            try await original.save(upload, after: nil)

            try await MetadataCopy.make(of: path("original"), at: path("copy"))
            let copy = try await MetadataCopy(path: path("copy"))
            #expect(try await copy.store.objects(after: [], limit: 10).map(\.key) == [[1]])
            #expect(try await copy.store.upload([5], in: repository) == nil)
            #expect(try await copy.store.knows(key: [2]))
            #expect(try await copy.store.violations() == [])
            try copy.close()
            #expect(try await original.upload([5], in: repository) == upload)
            for suffix in ["-wal", "-shm", "-journal"] {
                #expect(!FileManager.default.fileExists(atPath: path("copy" + suffix)))
            }
        }
    }

    @Test("is not made of a database that a newer program has written, nor of none")
    func refuses() async throws {
        try await inFolder { path in
            await #expect(throws: SQLError.self) {
                try await MetadataCopy.make(of: path("original"), at: path("copy"))
            }
            #expect(!FileManager.default.fileExists(atPath: path("original")))
            let database = try SQLiteDatabase(path: path("original"))
            try await MetadataStore(database).migrate()
            try await database.write { db in
                try db.run("INSERT INTO schema_migration (version, name, applied_at) VALUES (99, 'future', 0)")
            }
            await #expect(throws: SchemaError.self) {
                try await MetadataCopy.make(of: path("original"), at: path("copy"))
            }
            #expect(!FileManager.default.fileExists(atPath: path("copy")))
        }
    }
}
