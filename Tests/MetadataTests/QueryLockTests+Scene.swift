import Logging
import Metadata
import OCI
import Retention
import SQLStore
import Synchronization
import Testing

extension QueryLockTests {
    /// A registry on PostgreSQL that two nodes serve, and sessions of the test's beside them.
    final class Scene: Sendable {
        let store: MetadataStore
        /// Another node on the same database.
        let otherNode: MetadataStore
        let observer: Session
        private let holder: Session
        /// One more, for a test that needs a third.
        let bystander: Session
        let repository: RepositoryName

        init() async throws {
            let made = try await Engine.makePostgresDatabase()
            let settings = PostgresDatabase.Settings(
                url: made.url + " options='-c deadlock_timeout=20ms'",
                connections: 8,
                // Work is then undone after a deadlock alone, and not because the machine is busy.
                setsLimits: false
            )
            let count = Box()
            let databases = (0..<2).map { _ in
                PostgresDatabase(
                    settings,
                    observer: PostgresDatabase.Observer(load: { _ in }, retried: { count.add() }),
                    logger: Logger(label: "test")
                )
            }
            (store, otherNode) = (MetadataStore(databases[0]), MetadataStore(databases[1]))
            (holder, observer, bystander) = (try Session(made), try Session(made), try Session(made))
            repository = try RepositoryName(parsing: "team/app")
            retried = count
            try await store.migrate()
        }

        /// How often work was undone and done again, as after a deadlock.
        let retried: Box

        final class Box: Sendable {
            private let value = Mutex(0)
            var count: Int { value.withLock { $0 } }
            func add() { value.withLock { $0 += 1 } }
        }

        /// Makes blobs exist in the repository.
        func upload(_ names: [String]) async throws {
            for name in names {
                let bytes = Array(name.utf8)
                _ = try await store.commit(
                    Digest(hashing: bytes),
                    size: Int64(bytes.count),
                    at: .inline(bytes),
                    in: repository
                )
            }
        }

        /// Makes a blob exist in the repository, as an object under a key that consists of this byte.
        ///
        /// - Returns: whether its bytes were new.
        @discardableResult
        func upload(_ name: String, key: UInt8, to repository: RepositoryName) async throws -> Bool {
            let (bytes, key) = (Array(name.utf8), Array(repeating: key, count: 16))
            try await store.registerKeys([key])
            return try await store.commit(
                Digest(hashing: bytes),
                size: Int64(bytes.count),
                at: .object(key),
                in: repository
            )
        }

        /// An image whose config and layers have these contents.
        func image(_ config: String, _ layers: [String]) throws -> Manifest {
            func descriptor(_ name: String) -> String {
                #"{"digest":"\#(Digest(hashing: Array(name.utf8)))","size":\#(name.utf8.count)}"#
            }
            let list = layers.map(descriptor).joined(separator: ",")
            return try Manifest(
                decoding: Array(#"{"schemaVersion":2,"config":\#(descriptor(config)),"layers":[\#(list)]}"#.utf8),
                declaredType: MediaType.imageManifest
            )
        }

        func push(_ manifest: Manifest, _ tag: String?) async throws {
            let tags = try tag.map { [try Tag(parsing: $0)] } ?? []
            let push = ManifestPush(manifest: manifest, tags: tags, condition: .none, allowsSparseIndex: false)
            try await store.put(push, in: repository)
        }

        /// Two images, the first one under the tag `v1`.
        func pushTwo() async throws -> (Manifest, Manifest) {
            try await upload(["config", "layer", "other"])
            let images = (try image("config", ["layer"]), try image("config", ["other"]))
            try await push(images.0, "v1")
            try await push(images.1, nil)
            return images
        }

        /// An index of these.
        func index(_ images: [Manifest]) throws -> Manifest {
            let list = images.map {
                #"{"mediaType":"\#($0.mediaType)","digest":"\#($0.digest)","size":\#($0.bytes.count)}"#
            }
            return try Manifest(
                decoding: Array(#"{"schemaVersion":2,"manifests":[\#(list.joined(separator: ","))]}"#.utf8),
                declaredType: MediaType.imageIndex
            )
        }

        /// - Returns: those that were not written down, since somebody has them.
        @discardableResult
        func pull(_ references: [String]) async throws -> [String] {
            let pulls = try references.map {
                PulledReference(try Reference(parsing: $0), in: repository)
            }
            return try await store.addPulls(Dictionary(uniqueKeysWithValues: pulls.map { ($0, 1) })).map {
                "\($0.reference)"
            }
        }

        /// A plan that deletes every tag.
        func plan() async throws -> RetentionPlan {
            #expect(try await observer.run("UPDATE tag SET updated_at = 0").hasPrefix("UPDATE"))
            let policy = try RetentionPolicy(decoding: #"{"version":1,"rules":[{"delete":"old","days":1}]}"#.utf8)
            _ = try await store.setPolicy(policy, of: .registry)
            return try #require(try await store.retentionPlan(of: repository) { _, _ in nil })
        }

        /// The manifest that a tag names, or nil.
        func target(_ tag: String) async throws -> Digest? {
            do {
                return try await store.manifest(.tag(try Tag(parsing: tag)), in: repository, promising: false).digest
            } catch is RegistryError {
                return nil
            }
        }

        /// Nothing can be written to a table until ``letGo()``.
        func hold(_ table: String) async throws {
            #expect(try await holder.run("BEGIN; LOCK TABLE \(table) IN SHARE MODE") == "LOCK TABLE")
        }

        /// Nobody else gets to these rows until ``letGo()``.
        func hold(rows query: String) async throws { try await holder.run("BEGIN; \(query)") }

        /// Whoever appends the next hint waits until ``letGo(by:)`` rolls back what stands in its place.
        func holdNextHint() async throws {
            try await hold(
                rows: """
                    INSERT INTO gc_hint (id, kind, due_at) OVERRIDING SYSTEM VALUE
                    SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('gc_hint', 'id')), 0) + 1, 0, 0
                    """
            )
        }

        /// - Parameter end: `COMMIT` or `ROLLBACK`.
        func letGo(by end: String = "COMMIT") async throws { #expect(try await holder.run(end) == end) }

        /// Two transactions that meet: the second begins when the first waits for what is held, which is let go when both do.
        ///
        /// - Parameter end: how it is let go.
        func inTurn<First: Sendable, Second: Sendable>(
            lettingGoBy end: String = "COMMIT",
            _ first: @escaping @Sendable () async throws -> First,
            then second: @escaping @Sendable () async throws -> Second
        ) async throws -> (First, Second) {
            async let one = first()
            try await observer.waitUntilBlocked(count: 1)
            async let other = second()
            try await observer.waitUntilBlocked(count: 2)
            try await letGo(by: end)
            return try await (one, other)
        }

        /// A policy that is set waits until ``letGo(by:)`` rolls back what stands in its place, with the locks of a statement that
        /// is being run; one that is only being prepared may lose its turn.
        func hold(policy version: Int) async throws {
            try await hold(
                rows: """
                    INSERT INTO retention_policy (scope, version, created_at) VALUES ('namespace/team', \(version), 0)
                    """
            )
        }

        /// All hints are due, and a collector works them off.
        ///
        /// - Returns: how much it removed.
        @discardableResult
        func collect() async throws -> Int {
            try await observer.run("UPDATE gc_hint SET due_at = 0")
            var (removed, step) = (0, Collected())
            repeat {
                step = try await otherNode.collectReleasedManifests(limit: 10)
                step += try await otherNode.collectCondemnedManifest()
                step += try await otherNode.collectLinks(limit: 10)
                step += try await otherNode.collectBlobs(limit: 10)
                removed += step.removed
            } while step.hints > 0
            return removed
        }

        /// All that was promised is over, and all hints are due.
        func endPromises() async throws {
            try await observer.run(
                """
                UPDATE repo_blob SET lease_until = 0; UPDATE manifest SET created_at = 0, keep_until = 0;
                UPDATE gc_hint SET due_at = 0
                """
            )
        }

        /// A collector looks again and again when promises are over, until nothing more goes.
        func collectToTheEnd() async throws {
            repeat { try await endPromises() } while try await collect() > 0
        }

        /// The code that clients are told, or nil if all went well.
        func refusal(_ body: () async throws -> Void) async throws -> RegistryError.Code? {
            do {
                try await body()
                return nil
            } catch let error as RegistryError {
                return error.entries.first?.code
            }
        }
    }
}
