import Metadata
import OCI
import Retention
import Testing

/// Transactions that lock the same rows, each of which has some and waits for one that the test has: they get on without a
/// deadlock if they lock in the same order.
@Suite("The order of locks on PostgreSQL", .enabled(if: Engine.server != nil))
struct LockOrderTests {
    private typealias Scene = QueryLockTests.Scene

    /// Names of contents, in the order of their digests.
    private static func names(_ count: Int) -> [String] {
        (0..<count).map { "content \($0)" }.sorted { Digest(hashing: Array($0.utf8)) < Digest(hashing: Array($1.utf8)) }
    }

    @Test("is that of digests for blobs, when one manifest lets go of them and another one that lists them comes back")
    func blobs() async throws {
        let scene = try await Scene()
        let names = Self.names(3)
        // One after the other, so that the first by digest has the last id.
        for name in names.reversed() { try await scene.upload([name]) }
        let one = try scene.image(names[0], [names[1], names[2]])
        let other = try scene.image(names[0], [names[2], names[1]])
        for image in [one, other] { try await scene.push(image, nil) }
        try await scene.store.deleteManifest(one.digest, in: scene.repository)
        try await scene.hold(rows: "SELECT 1 FROM repo_blob WHERE id = 2 FOR UPDATE")
        let (_, restored) = try await scene.inTurn {
            try await scene.store.deleteManifest(other.digest, in: scene.repository)
        } then: {
            try await scene.store.restore(.digest(one.digest), in: scene.repository)
        }
        #expect(restored.manifests == [one.digest])
        #expect(try await scene.store.violations() == [])
        #expect(scene.retried.count == 0)
    }

    @Test(
        "is that of digests for manifests, when a rule deletes tags of an index and of its image and the index is pushed"
    )
    func manifests() async throws {
        let scene = try await Scene()
        var found: (image: Manifest, index: Manifest)?
        for name in Self.names(20) {
            let image = try scene.image(name, ["layer"])
            let index = try scene.index([image])
            if index.digest < image.digest { found = (image, index) }
        }
        let (image, index) = try #require(found)
        try await scene.upload(Self.names(20) + ["layer"])
        try await scene.push(image, "image")
        try await scene.push(index, "index")
        let plan = try await scene.plan()
        try await scene.hold(rows: "SELECT 1 FROM manifest ORDER BY id LIMIT 1 FOR KEY SHARE")
        let (run, _) = try await scene.inTurn {
            try await scene.store.apply(plan, cause: "schedule")
        } then: {
            try await scene.push(index, nil)
        }
        #expect(run.tags == 2)
        #expect(scene.retried.count == 0)
    }

    @Test("is that of names for pulls, when a rule deletes tags whose pulls are written down")
    func pulls() async throws {
        let scene = try await Scene()
        let names = Self.names(3)
        try await scene.upload(names)
        let images = try names.map { try scene.image($0, []) }.sorted { $0.digest > $1.digest }
        // Names against the order of what they name.
        for (image, tag) in zip(images, ["a", "b", "c"]) { try await scene.push(image, tag) }
        try await scene.pull(["a", "b", "c"])
        let plan = try await scene.plan()
        try await scene.hold(rows: "SELECT 1 FROM pull_stat WHERE reference = 'b' FOR UPDATE")
        let (run, _) = try await scene.inTurn {
            try await scene.store.apply(plan, cause: "schedule")
        } then: {
            try await scene.pull(["a", "b", "c"])
        }
        #expect(run.tags == 3)
        #expect(scene.retried.count == 0)
    }

    @Test("has pulls of tags before those of what they name")
    func pullsOfManifest() async throws {
        let scene = try await Scene()
        try await scene.upload(["config"])
        let image = try scene.image("config", [])
        for tag in ["t", "u"] { try await scene.push(image, tag) }
        let references = ["t", "u", "\(image.digest)"]
        try await scene.pull(references)
        try await scene.hold(rows: "SELECT 1 FROM pull_stat WHERE reference = 't' FOR UPDATE")
        _ = try await scene.inTurn {
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        } then: {
            try await scene.pull(references)
        }
        #expect(scene.retried.count == 0)
    }
}
