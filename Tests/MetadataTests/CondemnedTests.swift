@testable import Metadata
import OCI
import Retention
import SQLStore
import Testing

@Suite("What rules let go of")
struct CondemnedTests {
    private let repository: RepositoryName

    init() throws { repository = try RepositoryName(parsing: "team/app") }

    private static let keepUntagged = Images.keepNewest + #",{"keep":"untagged"}"#

    private func apply(_ rules: String, _ images: Images) async throws -> RetentionPlan {
        try await images.setRules(rules)
        let plan = try await images.plan(of: repository)
        _ = try await images.store.apply(plan, cause: "request")
        return plan
    }

    @Test("stays without a tag where a rule keeps what is untagged, and frees nothing", arguments: Engine.available)
    func keptUntagged(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let old = try await images.image(["old"], "v1", in: repository)
            _ = try await images.image(["new"], "v2", in: repository)
            #expect(try await apply(Self.keepUntagged, images).freed == RetentionPlan.Freed())
            #expect(try await images.tags(of: repository) == ["v2"])
            try await images.collect()
            #expect(try await images.count("manifest") == 2)
            let untagged = try await images.plan(of: repository).untagged
            #expect(untagged.map(\.facts.digest) == [old.digest])
            #expect(untagged.map(\.verdict.keptBy) == [["registry: keep untagged"]])
        }
    }

    @Test(
        "stays if such a rule comes before it is removed, and goes by the next that lets it",
        arguments: Engine.available
    )
    func keptLater(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await images.image(["old"], "v1", in: repository)
            _ = try await images.image(["new"], "v2", in: repository)
            #expect(try await apply(Images.keepNewest, images).freed.manifests == 1)
            try await images.setRules(Self.keepUntagged)
            try await images.collect()
            #expect(try await images.count("manifest") == 2)
            try await images.database.write {
                try $0.run("UPDATE manifest SET created_at = 0, keep_until = 0")
            }
            #expect(try await apply(#"{"delete":"untagged","days":1}"#, images).untagged.count == 1)
            try await images.collect()
            #expect(try await images.count("manifest") == 1)
        }
    }

    @Test("stays if it had a name that a client took away", arguments: Engine.available)
    func namedMeanwhile(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], nil, in: RepositoryName(parsing: "other"))
            let signature = try await images.image(["signature"], "s", subject: image.digest, in: repository)
            _ = try await images.image(["new"], "v1", in: repository)
            _ = try await apply(Images.keepNewest + #",{"delete":"untagged","days":1}"#, images)
            #expect(try await images.tags(of: repository) == ["v1"])
            // What it is about comes, and keeps it, and goes again before a collector looks.
            _ = try await images.image(["layer"], nil, in: repository)
            try await images.store.deleteManifest(image.digest, in: repository)
            try await images.collect()
            #expect(try await images.plan(of: repository).untagged.map(\.facts.digest) == [signature.digest])
        }
    }

    @Test("stays while a hold is on it, and goes when that is released", arguments: Engine.available)
    func held(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], "v1", in: repository)
            _ = try await apply(Images.deleteAll, images)
            let hold = RetentionHold(kind: .inUse, subject: .digest(image.digest), reason: "runs in production")
            let held = try await images.store.setHold(hold, in: repository)
            #expect(try await images.store.collectCondemnedManifest() == Collected(hints: 1))
            #expect(try await images.count("manifest") == 1)
            try await images.store.releaseHold(held.id, in: repository)
            try await images.collect()
            #expect(try await images.count("manifest") == 0)
        }
    }

    @Test("stays as its policies say if its repository is deleted and put back", arguments: Engine.available)
    func homeless(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let old = try await images.image(["old"], "v1", in: repository)
            _ = try await images.image(["new"], "v2", in: repository)
            _ = try await apply(Images.keepNewest, images)
            try await images.setRules(Self.keepUntagged)
            func laterOn() async throws {
                try await images.database.write {
                    try $0.run("UPDATE manifest SET keep_until = 0")
                    try $0.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 4")
                }
            }
            _ = try await images.store.deleteRepository(repository)
            try await laterOn()
            #expect(try await images.store.collectCondemnedManifest() == Collected(hints: 1))
            try await images.store.restoreRepository(repository)
            try await laterOn()
            #expect(try await images.store.collectCondemnedManifest() == Collected(hints: 1))
            #expect(try await images.plan(of: repository).untagged.map(\.facts.digest) == [old.digest])
        }
    }

    @Test("goes although it is about what it lists", arguments: Engine.available)
    func circle(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let child = try await images.image(["layer"], nil, in: repository)
            _ = try await images.index([child], "v1", subject: child.digest, in: repository)
            _ = try await images.image(["new"], "v2", in: repository)
            #expect(try await apply(Images.keepNewest, images).freed.manifests == 2)
            try await images.collect()
            #expect(try await images.count("manifest") == 1)
        }
    }

    @Test("goes with an index that did not see it, since both were pushed at once", arguments: Engine.available)
    func unseen(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let child = try await images.image(["layer"], nil, in: repository)
            _ = try await images.index([child], "v1", in: repository)
            _ = try await images.image(["new"], "v2", in: repository)
            try await images.database.write { try $0.run("UPDATE manifest_child SET child_id = NULL") }
            _ = try await apply(Images.keepNewest, images)
            try await images.collect()
            #expect(try await images.count("manifest") == 1)
        }
    }

    @Test("is not in a plan any more", arguments: Engine.available)
    func planned(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            _ = try await images.image(["old"], "v1", in: repository)
            _ = try await images.image(["new"], "v2", in: repository)
            _ = try await apply(Images.keepNewest + #",{"delete":"untagged","days":1}"#, images)
            #expect(try await images.plan(of: repository).untagged.count == 0)
        }
    }

    @Test("is written down without bytes if something was left out", arguments: Engine.available)
    func bytesOfPart(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            for tag in ["a", "b"] { _ = try await images.image([tag], tag, in: repository) }
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            try await images.store.addPulls([PulledReference(.tag(try Tag(parsing: "a")), in: repository): 1])
            let run = try await images.store.apply(plan, cause: "request")
            #expect((run.tags, run.bytes) == (1, 0))
            #expect(try await images.store.retentionRuns(of: repository, before: nil, limit: 9) == [run])
        }
    }

    @Test("is in the history for a year", arguments: Engine.available)
    func history(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            for tag in ["a", "b"] {
                _ = try await images.image([tag], tag, in: repository)
                _ = try await apply(Images.deleteAll, images)
            }
            let runs = try await images.store.retentionRuns(of: repository, before: nil, limit: 9)
            try await images.database.write { db in
                for (run, age) in zip(runs, [MetadataStore.historyKept - 60_000, MetadataStore.historyKept]) {
                    try db.run("UPDATE retention_run SET started_at = \(db.now - age) WHERE id = \(run.id)")
                }
            }
            _ = try await images.store.forgetDeleted(limit: 10)
            let left = try await images.store.retentionRuns(of: repository, before: nil, limit: 9)
            #expect(left.map(\.id) == [runs[0].id])
        }
    }

    @Test("comes back without a signature whose bytes are gone", arguments: Engine.available)
    func restoredAlone(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let image = try await images.image(["layer"], "v1", config: "one", in: repository)
            let signature = try await images.image(
                ["signature"],
                nil,
                config: "two",
                subject: image.digest,
                in: repository
            )
            for digest in [image.digest, signature.digest] {
                try await images.store.deleteManifest(digest, in: repository)
            }
            try await images.store.deleteBlob(Digest(hashing: Array("signature".utf8)), in: repository)
            #expect(try await images.store.collectBlobs(limit: 9).removed == 1)
            let restored = try await images.store.restore(.digest(image.digest), in: repository)
            #expect(restored.manifests == [image.digest])
            #expect(try await images.tags(of: repository) == ["v1"])
            #expect(try await images.store.violations() == [])
        }
    }

    // MARK: - On PostgreSQL, where transactions meet

    /// An index with a child, both old and without a name, in a repository whose policy lets such go.
    private func scene() async throws -> (QueryLockTests.Scene, child: Manifest, index: Manifest) {
        let scene = try await QueryLockTests.Scene()
        try await scene.upload(["config", "layer"])
        let child = try scene.image("config", ["layer"])
        try await scene.push(child, nil)
        let index = try scene.index([child])
        try await scene.push(index, nil)
        let policy = try RetentionPolicy(decoding: #"{"version":1,"rules":[{"delete":"untagged","days":1}]}"#.utf8)
        _ = try await scene.store.setPolicy(policy, of: .namespace("team"))
        try await scene.observer.run(
            "UPDATE manifest SET created_at = 0, keep_until = 0; UPDATE gc_hint SET due_at = 0"
        )
        return (scene, child, index)
    }

    private static func keepingPolicy() throws -> RetentionPolicy {
        try RetentionPolicy(decoding: #"{"version":1,"rules":[{"keep":"untagged"}]}"#.utf8)
    }

    @Test("a new policy waits for what the collector removes", .enabled(if: Engine.server != nil))
    func collectorThenPolicy() async throws {
        let (scene, _, _) = try await scene()
        try await scene.hold("deleted_manifest")
        let (collected, setting) = try await scene.inTurn {
            try await scene.store.collectReleasedManifests(limit: 10)
        } then: {
            try await scene.store.setPolicy(try Self.keepingPolicy(), of: .namespace("team"))
        }
        #expect(collected.removed == 1)
        #expect(setting.version == 2)
        #expect(scene.retried.count == 0)
    }

    @Test(
        "the collector waits for a policy that is being set, and then removes nothing",
        .enabled(if: Engine.server != nil)
    )
    func policyThenCollector() async throws {
        let (scene, _, _) = try await scene()
        try await scene.hold(policy: 2)
        let (_, collected) = try await scene.inTurn(lettingGoBy: "ROLLBACK") {
            try await scene.store.setPolicy(try Self.keepingPolicy(), of: .namespace("team"))
        } then: {
            try await scene.store.collectReleasedManifests(limit: 10)
        }
        #expect(collected.removed == 0)
        #expect(scene.retried.count == 0)
    }

    @Test("an index stays as long as somebody is about to name what it lists", .enabled(if: Engine.server != nil))
    func childIsBeingNamed() async throws {
        let (scene, child, index) = try await scene()
        let hash = child.digest.description.dropFirst("sha256:".count)
        try await scene.hold(rows: "SELECT 1 FROM manifest WHERE encode(digest, 'hex') LIKE '%\(hash)' FOR KEY SHARE")
        #expect(try await scene.store.collectReleasedManifests(limit: 10).removed == 0)
        try await scene.letGo()
        try await scene.observer.run("UPDATE gc_hint SET due_at = 0")
        #expect(try await scene.store.collectReleasedManifests(limit: 10).removed == 1)
        await #expect(throws: RegistryError.self) {
            try await scene.store.manifest(.digest(index.digest), in: scene.repository, promising: false)
        }
    }
}
