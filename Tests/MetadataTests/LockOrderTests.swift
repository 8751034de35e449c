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

    @Test("is none for pulls: those of what somebody is about to delete are left for later, and nobody is waited for")
    func pulls() async throws {
        let scene = try await Scene()
        let names = Self.names(3)
        try await scene.upload(names)
        let images = try names.map { try scene.image($0, []) }
        for (image, tag) in zip(images, ["a", "b", "c"]) { try await scene.push(image, tag) }
        let references = ["a", "b", "c"] + images.map { "\($0.digest)" }
        let hash = images[2].digest.description.dropFirst("sha256:".count)
        try await scene.hold(
            rows: """
                SELECT 1 FROM tag WHERE name = 'b' FOR UPDATE;
                SELECT 1 FROM manifest WHERE encode(digest, 'hex') LIKE '%\(hash)' FOR UPDATE
                """
        )
        #expect(try await Set(scene.pull(references)) == ["b", "\(images[2].digest)"])
        try await scene.letGo()
        #expect(try await scene.pull(["b", "\(images[2].digest)"]) == [])
        #expect(try await scene.observer.run("SELECT count(*) || ' ' || sum(pulls) FROM pull_stat") == "6 6")
        #expect(scene.retried.count == 0)
    }
}
