import FoundationEssentials
import Metadata
import OCI
@testable import RegistryCore
import SQLStore
import Synchronization
import Testing

@Suite("Counting pulls")
struct PullCounterTests {
    /// A registry with an image under many tags, on a database that counts the transactions that write, and can refuse them.
    private struct Scene {
        let database: Refusing
        let counter: PullCounter
        let repository: RepositoryName

        static func with(tags: Int, _ body: (Scene) async throws -> Void) async throws {
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("strata-\(UUID())")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let path = folder.appendingPathComponent("metadata.sqlite").path
            let database = Refusing(try SQLiteDatabase(path: path))
            let store = MetadataStore(database)
            try await store.migrate()
            let scene = Scene(
                database: database,
                counter: PullCounter(store),
                repository: try RepositoryName(parsing: "team/app")
            )
            let image = try Manifest(
                decoding: Array(#"{"schemaVersion":2,"manifests":[]}"#.utf8),
                declaredType: MediaType.imageIndex
            )
            let names = try (0..<tags).map { try Tag(parsing: "v\($0)") }
            let push = ManifestPush(manifest: image, tags: names, condition: .none, allowsSparseIndex: false)
            try await store.put(push, in: scene.repository)
            database.writes.withLock { $0 = 0 }
            try await body(scene)
        }

        func pull(_ tag: Int, times: Int = 1) throws {
            let pulled = PulledReference(.tag(try Tag(parsing: "v\(tag)")), in: repository)
            for _ in 0..<times { counter.count(pulled, asPulls: 1) }
        }

        /// Pulls of so many references that there are no more when they are written down.
        func pullOthers(_ count: Int) throws {
            let other = try RepositoryName(parsing: "gone")
            for number in 0..<count {
                counter.count(PulledReference(.tag(try Tag(parsing: "t\(number)")), in: other), asPulls: 1)
            }
        }

        /// How often each tag was pulled, as it is written down.
        func written() async throws -> [String: Int64] {
            let rows = try await database.read { try $0.run("SELECT reference, pulls FROM pull_stat") }
            return Dictionary(uniqueKeysWithValues: rows.map { ($0.text(0), $0.int(1)) })
        }
    }

    /// A real database, some of whose transactions fail before they are committed.
    private final class Refusing: SQLDatabase {
        private let database: SQLiteDatabase
        let writes = Mutex(0)
        /// How many may still succeed before one fails; nil if all do.
        let refusesAfter = Mutex<Int?>(nil)

        init(_ database: SQLiteDatabase) { self.database = database }

        var dialect: SQLDialect { database.dialect }

        func write<Result: Sendable>(
            _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
        ) async throws -> Result {
            writes.withLock { $0 += 1 }
            let isRefused = refusesAfter.withLock { left in
                defer { left = left.flatMap { $0 == 0 ? nil : $0 - 1 } }
                return left == 0
            }
            return try await database.write { db in
                let result = try body(db)
                if isRefused { throw SQLError.unavailable("refused") }
                return result
            }
        }

        func read<Result: Sendable>(
            _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
        ) async throws -> Result { try await database.read(body) }

        func snapshot<Result: Sendable>(
            _ body: @escaping @Sendable (any SQLTransaction) throws -> Result
        ) async throws -> Result { try await database.snapshot(body) }

        func change(
            _ changes: [TableChange],
            ifDue isDue: @escaping @Sendable (any SQLTransaction) throws -> Bool,
            then completion: @escaping @Sendable (any SQLTransaction) throws -> Void
        ) async throws -> SchemaOutcome { try await database.change(changes, ifDue: isDue, then: completion) }

        func inspect() async throws -> DatabaseFacts { try await database.inspect() }
    }

    @Test("writes nothing for a pull, and one transaction for all that were counted")
    func together() async throws {
        try await Scene.with(tags: 2) { scene in
            try scene.pull(0, times: 1000)
            try scene.pull(1)
            #expect(scene.database.writes.withLock { $0 } == 0)
            try await scene.counter.flush()
            #expect(scene.database.writes.withLock { $0 } == 1)
            #expect(try await scene.written() == ["v0": 1000, "v1": 1])
            try await scene.counter.flush()
            #expect(scene.database.writes.withLock { $0 } == 1, "there is nothing more")
        }
    }

    @Test("remembers that a tag was asked for without a pull, but not a digest, which those who push ask for")
    func asked() async throws {
        try await Scene.with(tags: 1) { scene in
            let digest = Digest(hashing: Array(#"{"schemaVersion":2,"manifests":[]}"#.utf8))
            for reference in [Reference.tag(try Tag(parsing: "v0")), .digest(digest)] {
                scene.counter.count(PulledReference(reference, in: scene.repository), asPulls: 0)
            }
            try await scene.counter.flush()
            #expect(try await scene.written() == ["v0": 0])
        }
    }

    @Test("keeps what could not be written down for the next time, and counts nothing twice", arguments: 0...2)
    func refused(_ steps: Int) async throws {
        // Three steps of 256 at most.
        try await Scene.with(tags: 600) { scene in
            for tag in 0..<600 { try scene.pull(tag, times: 2) }
            scene.database.refusesAfter.withLock { $0 = steps }
            await #expect(throws: SQLError.self) { try await scene.counter.flush() }
            #expect(try await scene.written().count == steps * 256)
            for tag in 0..<600 { try scene.pull(tag) }
            try await scene.counter.flush()
            let written = try await scene.written()
            #expect(written.count == 600 && Set(written.values) == [3])
        }
    }

    @Test("does not count more than 100,000 references, unless they are counted already, until those are written down")
    func limit() async throws {
        try await Scene.with(tags: 2) { scene in
            try scene.pull(0)
            try scene.pullOthers(99_999)
            try scene.pull(1)
            try scene.pull(0)
            try await scene.counter.flush()
            #expect(try await scene.written() == ["v0": 2])
            try scene.pull(1)
            try await scene.counter.flush()
            #expect(try await scene.written() == ["v0": 2, "v1": 1])
        }
    }

    @Test("writes down many references at once, and few of them not when it merely looks", .timeLimit(.minutes(1)))
    func hurry() async throws {
        try await Scene.with(tags: 1) { few in
            try await Scene.with(tags: 1) { many in
                try few.pull(0)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for counter in [few.counter, many.counter] {
                        group.addTask { await counter.run { Issue.record($0) } }
                    }
                    for pulls in 1...2 as ClosedRange<Int64> {
                        try many.pull(0)
                        try many.pullOthers(50_000)
                        while try await many.written()["v0"] != pulls {
                            try await Task.sleep(for: .milliseconds(20))
                        }
                    }
                    group.cancelAll()
                }
                #expect(few.database.writes.withLock { $0 } == 0)
            }
        }
    }
}
