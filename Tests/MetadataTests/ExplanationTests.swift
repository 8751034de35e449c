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
        try await images.store.explain(image.digest, in: repository).manifests.first?.manifest.untagged
    }

    private func listed(_ layer: String, _ images: Images) async throws -> [Explanation.Manifest] {
        let explanation = try await images.store.explain(Digest(hashing: Array(layer.utf8)), in: repository)
        return explanation.blob?.links.flatMap(\.manifests) ?? []
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

    @Test("follows indexes and subjects from a layer to the tags", arguments: Engine.available)
    func chain(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let child = try await images.image(["a"], nil, in: repository)
            let inner = try await images.index([child], nil, in: repository)
            let outer = try await images.index([inner], "v1", in: repository)
            let signature = try await images.image(["s"], nil, subject: inner.digest, in: repository)
            let image = try #require(try await listed("a", images).first)
            #expect(image.digest == "\(child.digest)" && image.tags == [] && image.untagged == nil && !image.hasMore)
            #expect(image.indexes.map(\.digest) == ["\(inner.digest)"])
            #expect(image.indexes.flatMap(\.indexes).map(\.digest) == ["\(outer.digest)"])
            #expect(image.indexes.flatMap(\.indexes).map(\.tags) == [["v1"]])
            let about = try #require(try await listed("s", images).first)
            #expect(about.digest == "\(signature.digest)" && about.end == nil)
            #expect(about.subject == image.indexes.first, "what is said of a manifest is the same on each way to it")
            // A signature that was there before the index that lists it.
            let own = try await images.index([child], nil, subject: child.digest, in: repository)
            #expect(try await images.store.explain(own.digest).manifests.first?.manifest.subject == nil)
        }
    }

    @Test("tells of what goes with an index or a subject when that is", arguments: Engine.available)
    func end(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let child = try await images.image(["a"], nil, in: repository)
            let first = try await images.index([child], "v1", in: repository)
            _ = try await images.image(["s"], nil, subject: first.digest, in: repository)
            try await images.store.deleteTag(try Tag(parsing: "v1"), in: repository)
            #expect(try await listed("s", images).map(\.end) == [nil], "no rule lets go of its subject")
            try await images.setRules(#"{"delete":"untagged","days":2}"#)
            for layer in ["a", "s"] {
                let found = try #require(try await listed(layer, images).first)
                let keeper = try #require(found.indexes.first ?? found.subject)
                let last = try #require(keeper.untagged?.removedAt)
                #expect(keeper.untagged?.rule == "registry: delete untagged after 2 days" && found.untagged == nil)
                #expect(found.end?.removedAt == last && found.end?.bytesUntil == last + Self.window)
            }
            // Another index keeps the image for good, but not the signature of the first one.
            _ = try await images.index([child, first], "v2", in: repository)
            #expect(try await listed("a", images).map(\.end) == [nil])
            try await images.store.deleteTag(try Tag(parsing: "v2"), in: repository)
            #expect(try await listed("a", images).first?.end != nil)
            let hold = RetentionHold(kind: .legal, subject: .digest(child.digest), reason: "case 7")
            _ = try await images.store.setHold(hold, in: repository)
            #expect(try await listed("a", images).map(\.holds) == [["legal hold on \(child.digest): case 7"]])
            #expect(try await listed("a", images).map(\.end) == [nil])
        }
    }

    @Test("goes up five levels and shows twenty of each, and says that there is more", arguments: Engine.available)
    func bounds(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            try await images.setRules(#"{"delete":"untagged","days":2}"#)
            var top = try await images.image(["a"], nil, in: repository)
            for _ in 0..<7 { top = try await images.index([top], nil, in: repository) }
            var found = try #require(try await listed("a", images).first)
            for _ in 1..<5 {
                #expect(!found.hasMore && found.untagged == nil && found.end == nil)
                found = try #require(found.indexes.first)
            }
            #expect(found.hasMore && found.indexes == [] && found.untagged == nil)
            // The one with a tag is the oldest.
            _ = try await images.image(["b"], "v1", config: "tagged", in: repository)
            for number in 0..<21 { _ = try await images.image(["b"], nil, config: "\(number)", in: repository) }
            let explanation = try await images.store.explain(Digest(hashing: Array("b".utf8)))
            let link = try #require(explanation.blob?.links.first)
            #expect(link.manifests.count == 20 && link.hasMoreManifests && link.manifests.first?.tags == ["v1"])
            let many = try await images.image(["c"], "t00", in: repository)
            for number in 10..<30 { try await images.push(many, "t\(number)", in: repository) }
            let tagged = try #require(try await images.store.explain(many.digest).manifests.first?.manifest)
            #expect(tagged.tags.count == 20 && tagged.hasMore)
            for number in 0..<20 {
                _ = try await images.image(["c"], "v", in: try RepositoryName(parsing: "other/r\(number)"))
            }
            let everywhere = try await images.store.explain(many.digest)
            #expect(everywhere.manifests.count == 20 && everywhere.hasMoreManifests)
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
