import Metadata
import OCI
import Retention
import SQLStore
import Testing

/// What the program's own transactions do to each other on PostgreSQL. A session of the test's holds a table against
/// writes, so that a transaction stops with the locks that it has until then.
@Suite("Concurrent transactions on PostgreSQL", .enabled(if: Engine.server != nil))
struct QueryLockTests {
    private let layer = Digest(hashing: Array("layer".utf8))

    @Test("the deletion of a blob waits for a push that has found it, then sees the manifest and refuses")
    func pushThenBlobDeletion() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.hold("manifest")
        let (_, refusal) = try await scene.inTurn {
            try await scene.push(image, "v1")
        } then: {
            try await scene.refusal { try await scene.store.deleteBlob(layer, in: scene.repository) }
        }
        #expect(refusal == .unsupported)
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }

    @Test("a push waits for the deletion of a blob under way, then misses it")
    func blobDeletionThenPush() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.hold("gc_hint")
        let (_, refusal) = try await scene.inTurn {
            try await scene.store.deleteBlob(layer, in: scene.repository)
        } then: {
            try await scene.refusal { try await scene.push(image, "v1") }
        }
        #expect(refusal == .manifestBlobUnknown)
        #expect(try await scene.target("v1") == nil)
        #expect(try await scene.store.violations() == [])
    }

    @Test("a tag for a manifest that is being deleted waits, and its push stores the manifest anew")
    func manifestDeletionThenTag() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.push(image, "v1")
        try await scene.hold("gc_hint")
        _ = try await scene.inTurn {
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        } then: {
            try await scene.push(image, "v2")
        }
        #expect(try await scene.target("v1") == nil)
        #expect(try await scene.target("v2") == image.digest)
        #expect(try await scene.store.violations() == [])
    }

    @Test("the deletion of a manifest waits for a tag that is being made for it, and takes that too")
    func tagThenManifestDeletion() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.push(image, "v1")
        try await scene.hold("tag")
        _ = try await scene.inTurn {
            try await scene.push(image, "v2")
        } then: {
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        }
        #expect(try await scene.target("v1") == nil)
        #expect(try await scene.target("v2") == nil)
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }

    @Test("a hold on tags waits for the deletion of one under way, and is on those that are left")
    func deletionThenHold() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        try await scene.push(try scene.image("config", ["layer"]), "v1")
        try await scene.hold("gc_hint")
        let (_, hold) = try await scene.inTurn {
            try await scene.store.deleteTag(try Tag(parsing: "v1"), in: scene.repository)
        } then: {
            try await scene.store.setHold(try Self.hold(on: "v*"), in: scene.repository)
        }
        #expect(hold.hold.reason == "case 7")
        #expect(try await scene.target("v1") == nil)
        #expect(scene.retried.count == 0)
    }

    @Test("a deletion waits for a hold that is being set, and is refused", arguments: ["v*", "the digest"])
    func holdThenDeletion(_ subject: String) async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.push(image, "v1")
        try await scene.hold("retention_hold")
        let hold = try Self.hold(on: subject == "v*" ? subject : "\(image.digest)")
        async let setting = scene.store.setHold(hold, in: scene.repository)
        try await scene.observer.waitUntilBlocked(count: 1)
        async let refusal = scene.refusal { try await scene.store.deleteManifest(image.digest, in: scene.repository) }
        try await scene.observer.waitUntilBlocked(count: 2)
        async let other = scene.refusal { try await scene.store.deleteRepository(scene.repository) }
        try await scene.observer.waitUntilBlocked(count: 3)
        try await scene.letGo()
        _ = try await setting
        #expect(try await refusal == .denied)
        #expect(try await other == .denied)
        #expect(try await scene.target("v1") == image.digest)
        #expect(scene.retried.count == 0)
    }

    @Test("a rule waits for a hold that is being set, and then deletes nothing")
    func holdThenRule() async throws {
        let scene = try await Scene()
        _ = try await scene.pushTwo()
        let plan = try await scene.plan()
        try await scene.hold("retention_hold")
        let (_, refusal) = try await scene.inTurn {
            try await scene.store.setHold(try Self.hold(on: "v*"), in: scene.repository)
        } then: {
            try await scene.refusal { _ = try await scene.store.apply(plan, cause: "schedule") }
        }
        #expect(refusal == .preconditionFailed)
        #expect(try await scene.target("v1") != nil)
        #expect(scene.retried.count == 0)
    }

    @Test("there is no hold on a manifest whose deletion is under way")
    func deletionThenHoldOnManifest() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.push(image, "v1")
        try await scene.hold("gc_hint")
        let (_, refusal) = try await scene.inTurn {
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        } then: {
            try await scene.refusal {
                _ = try await scene.store.setHold(try Self.hold(on: "\(image.digest)"), in: scene.repository)
            }
        }
        #expect(refusal == .manifestUnknown)
        #expect(scene.retried.count == 0)
    }

    @Test("a legal hold on tags waits for a push that is moving one, and is on what that names then")
    func moveThenHold() async throws {
        let scene = try await Scene()
        let (_, new) = try await scene.pushTwo()
        try await scene.hold("gc_hint")
        _ = try await scene.inTurn {
            try await scene.push(new, "v1")
        } then: {
            try await scene.store.setHold(try Self.hold(on: "v*"), in: scene.repository)
        }
        #expect(try await scene.target("v1") == new.digest)
        #expect(scene.retried.count == 0)
    }

    @Test("a push waits for a legal hold that is being set on its tag, and does not move it")
    func holdThenMove() async throws {
        let scene = try await Scene()
        let (old, new) = try await scene.pushTwo()
        try await scene.hold("retention_hold")
        let (_, refusal) = try await scene.inTurn {
            try await scene.store.setHold(try Self.hold(on: "v*"), in: scene.repository)
        } then: {
            try await scene.refusal { try await scene.push(new, "v1") }
        }
        #expect(refusal == .denied)
        #expect(try await scene.target("v1") == old.digest)
        #expect(scene.retried.count == 0)
    }

    private static func keepAll() throws -> RetentionPolicy {
        try RetentionPolicy(decoding: #"{"version":1,"rules":[{"keep":"always"}]}"#.utf8)
    }

    @Test("a new policy waits for what a rule is deleting")
    func ruleThenPolicy() async throws {
        let scene = try await Scene()
        _ = try await scene.pushTwo()
        let plan = try await scene.plan()
        try await scene.hold("gc_hint")
        let (run, setting) = try await scene.inTurn {
            try await scene.store.apply(plan, cause: "schedule")
        } then: {
            try await scene.store.setPolicy(try Self.keepAll(), of: .namespace("team"))
        }
        #expect(run.tags == 1)
        #expect(setting.version == 1)
        #expect(scene.retried.count == 0)
    }

    @Test("a rule waits for a policy that is being set, and then deletes nothing")
    func policyThenRule() async throws {
        let scene = try await Scene()
        _ = try await scene.pushTwo()
        let plan = try await scene.plan()
        try await scene.hold(policy: 1)
        let (_, refusal) = try await scene.inTurn(lettingGoBy: "ROLLBACK") {
            try await scene.store.setPolicy(try Self.keepAll(), of: .namespace("team"))
        } then: {
            try await scene.refusal { _ = try await scene.store.apply(plan, cause: "schedule") }
        }
        #expect(refusal == .preconditionFailed)
        #expect(try await scene.target("v1") != nil)
        #expect(scene.retried.count == 0)
    }

    private static func hold(on subject: String) throws -> RetentionHold {
        RetentionHold(kind: .legal, subject: try .init(parsing: subject), reason: "case 7")
    }

    @Test("a tag moves away from a manifest while that is deleted, without a deadlock")
    func tagMovesFromDeleted() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer", "other"])
        let (old, new) = (try scene.image("config", ["layer"]), try scene.image("config", ["other"]))
        try await scene.push(old, "v1")
        try await scene.push(new, nil)
        // Both were pushed long ago, so that whoever lets go of one has to promise anew.
        #expect(try await scene.observer.run("UPDATE manifest SET keep_until = 0") == "UPDATE 2")
        try await scene.hold("tag")
        _ = try await scene.inTurn {
            try await scene.push(new, "v1")
        } then: {
            try await scene.store.deleteManifest(old.digest, in: scene.repository)
        }
        #expect(try await scene.target("v1") == new.digest)
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }

    @Test("a manifest is pushed again under its tag while it is deleted, without a deadlock")
    func samePushAgainstDeletion() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        try await scene.push(image, "v1")
        #expect(try await scene.observer.run("UPDATE manifest SET keep_until = 0") == "UPDATE 1")
        try await scene.hold("tag")
        _ = try await scene.inTurn {
            try await scene.push(image, "v1")
        } then: {
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        }
        #expect(try await scene.target("v1") == nil)
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }

    @Test("an image and a sparse index that lists it are pushed at once and miss each other: the image stays")
    func indexAndItsImage() async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer"])
        let image = try scene.image("config", ["layer"])
        let index = try scene.index([image])
        func pushIndex(_ tags: [OCI.Tag]) async throws {
            let push = ManifestPush(manifest: index, tags: tags, condition: .none, allowsSparseIndex: true)
            try await scene.store.put(push, in: scene.repository)
        }
        try await scene.hold("tag")
        async let push: Void = scene.push(image, "v1")
        try await scene.observer.waitUntilBlocked(count: 1)
        try await pushIndex([])
        try await scene.letGo()
        try await push
        #expect(try await scene.observer.run("SELECT count(*) FROM manifest_child WHERE child_id IS NULL") == "1")
        try await pushIndex([try OCI.Tag(parsing: "all")])
        try await scene.store.deleteTag(try Tag(parsing: "v1"), in: scene.repository)
        #expect(try await scene.observer.run("UPDATE manifest SET keep_until = 0") == "UPDATE 2")
        #expect(try await scene.observer.run("UPDATE gc_hint SET due_at = 0").hasPrefix("UPDATE"))
        #expect(try await scene.observer.run("UPDATE manifest SET created_at = 0").hasPrefix("UPDATE"))
        let rule = try RetentionPolicy(decoding: #"{"version":1,"rules":[{"delete":"untagged","days":1}]}"#.utf8)
        _ = try await scene.store.setPolicy(rule, of: .registry)
        while try await scene.store.collectReleasedManifests(limit: 20).hints > 0 {}
        #expect(try await scene.store.counts().manifests == 2)
        #expect(try await scene.observer.run("SELECT count(*) FROM manifest_child WHERE child_id IS NULL") == "0")
    }

    @Test("manifests that share their layers are deleted at the same time, without a deadlock")
    func deletionsThatShareLayers() async throws {
        let scene = try await Scene()
        let layers = (0..<8).map { "layer \($0)" }
        try await scene.upload(layers + (0..<24).map { "config \($0)" })
        let images = try (0..<24).map { try scene.image("config \($0)", layers.shuffled()) }
        for image in images { try await scene.push(image, nil) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for image in images {
                group.addTask { try await scene.store.deleteManifest(image.digest, in: scene.repository) }
            }
            try await group.waitForAll()
        }
        #expect(try await scene.store.counts().manifests == 0)
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }

    @Test("a deletion waits for pulls that are written down, and takes them too", arguments: ["b", "the digest"])
    func pullsThenDeletion(_ pulled: String) async throws {
        let scene = try await Scene()
        try await scene.upload(["config", "layer", "other"])
        let (image, other) = (try scene.image("config", ["layer"]), try scene.image("config", ["other"]))
        try await scene.push(other, "a")
        try await scene.push(image, pulled == "b" ? "b" : nil)
        let reference = pulled == "b" ? "b" : "\(image.digest)"
        try await scene.pull(["a"])
        // Held after they were found to be there.
        try await scene.hold(rows: "SELECT 1 FROM pull_stat WHERE reference = 'a' FOR UPDATE")
        _ = try await scene.inTurn {
            try await scene.pull(["a", reference])
        } then: {
            switch pulled {
            case "b": try await scene.store.deleteTag(try Tag(parsing: reference), in: scene.repository)
            default: try await scene.store.deleteManifest(image.digest, in: scene.repository)
            }
        }
        #expect(try await scene.observer.run("SELECT string_agg(reference, ' ') FROM pull_stat") == "a")
        #expect(scene.retried.count == 0)
    }

    @Test("whoever gives up a key waits for its publication under way, and lets it be")
    func publicationThenClaim() async throws {
        let scene = try await Scene()
        let key = Array(repeating: UInt8(9), count: 16)
        try await scene.store.registerKeys([key])
        try await scene.hold("blob")
        let (isNew, claimed) = try await scene.inTurn {
            try await scene.store.commit(layer, size: 5, at: .object(key), in: scene.repository)
        } then: {
            try await scene.otherNode.claim([key])
        }
        #expect(isNew && claimed == [])
        #expect(try await scene.store.violations() == [])
    }

    @Test("uploads of the same blobs to the same new repositories through two nodes, in any order, without a deadlock")
    func uploadsThatOverlap() async throws {
        let scene = try await Scene()
        let repositories = try (0..<6).map { try RepositoryName(parsing: "team/r\($0)") }
        let uploads = repositories.flatMap { repository in (0..<20).map { (repository, Array("blob \($0)".utf8)) } }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in [scene.store, scene.otherNode] {
                for (repository, bytes) in uploads.shuffled() {
                    group.addTask {
                        let (digest, size) = (Digest(hashing: bytes), Int64(bytes.count))
                        _ = try await store.commit(digest, size: size, at: .inline(bytes), in: repository)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await scene.store.counts().blobs == 20)
        #expect(try await scene.observer.run("SELECT count(*) FROM repo_blob") == "120")
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }
}
