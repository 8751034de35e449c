import Metadata
import OCI
import Retention
import SQLStore
import Testing

@Suite("An explanation")
struct ExplanationTests {
    private let repository: RepositoryName
    private static let day: Int64 = 86_400_000
    private static let window: Int64 = 3_600_000

    init() throws { repository = try RepositoryName(parsing: "team/app") }

    private func untagged(_ image: Manifest, _ images: Images) async throws -> Explanation.Untagged? {
        try await images.store.explain(image.digest, in: repository).manifests.first?.untagged
    }

    @Test("tells of an untagged manifest when which rule lets it go, or that none does", arguments: Engine.available)
    func untagged(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let image = try await images.image(["layer"], "v1", in: repository)
            #expect(try await untagged(image, images) == nil)
            try await images.store.deleteTag(try Tag(parsing: "v1"), in: repository)
            let kept = try #require(try await untagged(image, images))
            #expect(kept.rule == nil && kept.removedAt == nil && kept.bytesUntil == nil)
            try await images.setRules(#"{"delete":"untagged","days":2},{"name":"month","delete":"untagged","days":30}"#)
            let found = try #require(try await untagged(image, images))
            #expect(found.rule == "registry: delete untagged after 2 days")
            #expect(found.since == kept.since && found.removedAt == kept.since + 2 * Self.day)
            // Whoever puts it back relies on its layers for as long.
            #expect(found.bytesUntil == kept.since + 2 * Self.day + Self.window)
            try await images.setRules(#"{"delete":"untagged","days":2}, {"keep":"untagged"}"#)
            #expect(try await untagged(image, images)?.rule == nil)
        }
    }

    @Test(
        "tells of a manifest that a rule let go of which one it was, and when it is removed",
        arguments: Engine.available
    )
    func condemned(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let image = try await images.image(["layer"], "v1", in: repository)
            try await images.setRules(Images.deleteAll)
            _ = try await images.store.apply(try await images.plan(of: repository), cause: "request")
            let found = try #require(try await untagged(image, images))
            #expect(found.rule == "registry: delete rest")
            #expect(found.removedAt == found.since + Self.window)
            #expect(found.bytesUntil == found.since + 2 * Self.window)
            // Named again it is condemned no more, also when that name is gone.
            try await images.push(image, "v2", in: repository)
            #expect(try await untagged(image, images) == nil)
            try await images.store.deleteTag(try Tag(parsing: "v2"), in: repository)
            #expect(try await untagged(image, images)?.rule == nil)
        }
    }

    @Test("tells nothing of the end of what an index, a subject or a hold keeps", arguments: Engine.available)
    func kept(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            try await images.setRules(#"{"delete":"untagged","days":1}"#)
            let child = try await images.image(["a"], nil, in: repository)
            #expect(try await untagged(child, images) != nil)
            let index = try await images.index([child], nil, in: repository)
            let signature = try await images.image(["s"], nil, subject: index.digest, in: repository)
            #expect(try await untagged(child, images) == nil)
            #expect(try await untagged(signature, images) == nil)
            #expect(try await untagged(index, images) != nil)
            let hold = RetentionHold(kind: .legal, subject: .digest(index.digest), reason: "case 7")
            _ = try await images.store.setHold(hold, in: repository)
            #expect(try await untagged(index, images) == nil)
        }
    }

    @Test("tells when the bytes of a blob are gone that no manifest lists", arguments: Engine.available)
    func blob(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let images = Images(store: store, database: database)
            let image = try await images.image(["layer"], "v1", in: repository)
            let layer = Digest(hashing: Array("layer".utf8))
            #expect(try await store.explain(layer).blob?.bytesUntil == nil)
            try await store.deleteManifest(image.digest, in: repository)
            let blob = try #require(try await store.explain(layer).blob)
            let lease = try #require(blob.links.first?.leaseUntil)
            #expect(blob.bytesUntil == lease + Int64(135 * 60_000))
            // Whether others have it is not told to those who ask of one repository.
            #expect(try await store.explain(layer, in: repository).blob?.bytesUntil == nil)
            try await database.write { try $0.run("UPDATE repo_blob SET lease_until = 0") }
            while try await store.collectLinks(limit: 20).hints > 0 {}
        }
    }
}
