import Metadata
import OCI
import Retention
import SQLStore
import Testing

@Suite("Retention")
struct RetentionTests {
    private let repository: RepositoryName
    private let other: RepositoryName

    init() throws {
        repository = try RepositoryName(parsing: "team/app")
        other = try RepositoryName(parsing: "team/other")
    }

    private static let deleteAll = #"{"keep":"always","tags":["none"]},{"delete":"rest"}"#
    private static let keepNewest = #"{"keep":"last","count":1,"by":"pushed"},{"delete":"rest"}"#

    private func with(
        _ engine: Engine,
        window: Duration = .zero,
        _ body: @Sendable (Images) async throws -> Void
    ) async throws {
        let promises = Promises(
            lease: .zero,
            window: window,
            upload: .seconds(60),
            blobDelay: .zero,
            trash: .zero
        )
        try await engine.withStore { _, database in
            try await body(Images(store: MetadataStore(database, promises: promises), database: database))
        }
    }

    private func setRules(_ rules: String, of scope: RetentionScope = .registry, _ images: Images) async throws {
        let policy = try RetentionPolicy(decoding: #"{"version":1,"rules":[\#(rules)]}"#.utf8)
        _ = try await images.store.setPolicy(policy, of: scope)
    }

    private func plan(_ images: Images) async throws -> RetentionPlan {
        try #require(try await images.store.retentionPlan(of: repository))
    }

    @Test("frees exactly what its plan says, with what only the deleted named", arguments: Engine.available)
    func freed(_ engine: Engine) async throws {
        try await with(engine) { images in
            let base = try await images.image(["base", "one"], "old", in: repository)
            let amd64 = try await images.image(["base", "amd64"], nil, in: repository)
            let arm64 = try await images.image(["base", "arm64"], "arm", in: repository)
            let index = try await images.index([amd64, arm64], "multi", in: repository)
            _ = try await images.image(["signature"], nil, subject: index.digest, in: repository)
            _ = try await images.image(["elsewhere"], "x", in: repository)
            _ = try await images.image(["elsewhere"], "x", in: other)
            _ = try await images.image(["base", "new"], "new", in: repository)
            try await setRules(
                #"{"keep":"always","tags":["arm","new"]},{"delete":"rest"},{"delete":"untagged","days":1}"#,
                images
            )
            let before = try await images.bytes()
            let plan = try await plan(images)
            #expect(
                plan.tags.filter { $0.verdict.decision == .delete }.map(\.facts.name.text) == ["multi", "old", "x"]
            )
            #expect(plan.freed.manifests == 5, "the index with one of two children, its signature, and two images")
            #expect(try await images.bytes() == before, "a plan changes nothing")
            let run = try await images.store.apply(plan, cause: "request")
            #expect(run.tags == 3)
            try await images.collect()
            #expect(before - (try await images.bytes()) == plan.freed.bytes)
            #expect(try await images.count("manifest") == 3)
            #expect(try await images.store.retentionRuns(of: repository, before: nil, limit: 10) == [run])
            _ = base
        }
    }

    @Test("lets a tag be that was pushed or pulled after the plan was made", arguments: Engine.available)
    func overtaken(_ engine: Engine) async throws {
        try await with(engine, window: .seconds(3600)) { images in
            for tag in ["a", "b", "c"] { _ = try await images.image([tag], tag, in: repository) }
            try await setRules(Self.deleteAll, images)
            let plan = try await plan(images)
            try await images.database.write {
                try $0.run("UPDATE tag SET updated_at = updated_at + 1 WHERE name = 'a'")
            }
            try await images.store.addPulls([PulledReference(.tag(try Tag(parsing: "b")), in: repository): 1])
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 1)
            #expect(try await images.tags(of: repository) == ["a", "b"])
        }
    }

    @Test("deletes nothing once a tag is gone that was among the last", arguments: Engine.available)
    func keptTagIsGone(_ engine: Engine) async throws {
        try await with(engine) { images in
            for tag in ["v1", "v2"] { _ = try await images.image([tag], tag, in: repository) }
            try await setRules(Self.keepNewest, images)
            let plan = try await plan(images)
            try await images.store.deleteTag(try Tag(parsing: "v2"), in: repository)
            await #expect(throws: RegistryError.self) { try await images.store.apply(plan, cause: "schedule") }
            #expect(try await images.tags(of: repository) == ["v1"])
        }
    }

    @Test("does nothing once the policies or the holds have changed", arguments: Engine.available)
    func superseded(_ engine: Engine) async throws {
        try await with(engine) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            try await setRules(Self.deleteAll, images)
            let plan = try await plan(images)
            try await setRules(#"{"keep":"always"}"#, of: .namespace("team"), images)
            await #expect(throws: RegistryError.self) { try await images.store.apply(plan, cause: "schedule") }
            #expect(try await images.tags(of: repository) == ["v1"])
        }
    }

    @Test("a pull by digest is a pull of every tag that names it", arguments: Engine.available)
    func pulledByDigest(_ engine: Engine) async throws {
        try await with(engine) { images in
            let image = try await images.image(["layer"], "v1", in: repository)
            try await images.database.write { try $0.run("UPDATE tag SET updated_at = 0") }
            try await setRules(#"{"delete":"unused","days":30}"#, images)
            #expect(try await plan(images).tags.map(\.verdict.decision) == [.delete])
            try await images.store.addPulls([PulledReference(.digest(image.digest), in: repository): 1])
            #expect(try await plan(images).tags.map(\.verdict.decision) == [.keep])
        }
    }

    @Test("forgets how often something was pulled with the thing itself", arguments: Engine.available)
    func pulls(_ engine: Engine) async throws {
        try await with(engine) { images in
            let image = try await images.image(["layer"], "a", in: repository)
            try await images.push(image, "b", in: repository)
            let tag = PulledReference(.tag(try Tag(parsing: "a")), in: repository)
            let digest = PulledReference(.digest(image.digest), in: repository)
            try await images.store.addPulls([tag: 2, digest: 1])
            try await images.store.addPulls([tag: 3, PulledReference(tag.reference, in: other): 1])
            let counts = try await images.database.read { db in
                try db.run("SELECT pulls FROM pull_stat ORDER BY reference").map { $0.int(0) }
            }
            #expect(counts == [5, 1], "and nothing of a repository that does not exist")
            try await images.store.deleteTag(try Tag(parsing: "a"), in: repository)
            try await images.store.addPulls([tag: 1])
            #expect(try await images.count("pull_stat") == 1, "and nothing of a tag that is gone by now")
            try await images.store.deleteManifest(image.digest, in: repository)
            #expect(try await images.count("pull_stat") == 0)
        }
    }

    @Test("says of a tag when it will go, until it is pushed again", arguments: Engine.available)
    func announced(_ engine: Engine) async throws {
        try await with(engine) { images in
            let tag = Reference.tag(try Tag(parsing: "v1"))
            let image = try await images.image(["layer"], "v1", in: repository)
            func expiry() async throws -> Int64? {
                try await images.store.manifest(tag, in: repository, promising: false).expiresAt
            }
            for (days, isNear) in [(3, true), (30, false)] {
                try await setRules(#"{"delete":"old","days":\#(days)}"#, images)
                let plan = try await plan(images)
                _ = try await images.store.apply(plan, cause: "schedule")
                let due = plan.tags[0].facts.pushedAt + Int64(days) * 24 * 3_600_000
                #expect(try await expiry() == (isNear ? due : nil))
            }
            try await images.database.write { try $0.run("UPDATE tag SET expires_at = 1") }
            try await images.push(image, "v1", in: repository)
            #expect(try await expiry() == nil)
        }
    }

    @Test("what a rule deleted is put back as it was, and then stays", arguments: Engine.available)
    func restored(_ engine: Engine) async throws {
        try await with(engine, window: .seconds(3600)) { images in
            let tag = try Tag(parsing: "v1")
            _ = try await images.image(["layer"], "v1", in: repository)
            _ = try await images.image(["newer"], "v2", in: repository)
            try await images.database.write { try $0.run("UPDATE tag SET updated_at = 0 WHERE name = 'v1'") }
            try await setRules(Self.keepNewest, images)
            #expect(try await images.store.apply(try await plan(images), cause: "schedule").tags == 1)
            #expect(try await images.tags(of: repository) == ["v2"])
            let restored = try await images.store.restore(.tag(tag), in: repository)
            #expect(restored.tags == [tag])
            // Deleted again, by somebody and not by a rule: without a rule for what is untagged, the manifest stays.
            try await images.store.deleteTag(tag, in: repository)
            try await images.database.write { db in
                try db.run("UPDATE gc_hint SET due_at = 0")
                try db.run("UPDATE manifest SET keep_until = 0")
            }
            try await images.collect()
            #expect(try await images.count("manifest") == 2)
        }
    }

    @Test(
        "an immutable tag is neither moved nor deleted by a client, but may be by a rule",
        arguments: Engine.available
    )
    func immutable(_ engine: Engine) async throws {
        try await with(engine) { images in
            let tag = try Tag(parsing: "v1")
            let policy = #"{"version":1,"immutable":["v*"]}"#
            _ = try await images.store.setPolicy(try RetentionPolicy(decoding: policy.utf8), of: .registry)
            let image = try await images.image(["layer"], "v1", in: repository)
            try await images.push(image, "v1", in: repository)
            try await images.push(image, "latest", in: repository)
            await #expect(throws: RegistryError.self) { _ = try await images.image(["other"], "v1", in: repository) }
            await #expect(throws: RegistryError.self) { try await images.store.deleteTag(tag, in: repository) }
            await #expect(throws: RegistryError.self) {
                try await images.store.deleteManifest(image.digest, in: repository)
            }
            #expect(try await images.tags(of: repository) == ["latest", "v1"])
            try await setRules(Self.deleteAll, of: .repository(repository), images)
            #expect(try await images.store.apply(try await plan(images), cause: "request").tags == 2)
        }
    }

    @Test(
        "counts the last of each platform, as an index or an image's configuration names it",
        arguments: Engine.available
    )
    func platforms(_ engine: Engine) async throws {
        try await with(engine) { images in
            for (tag, architecture) in [("a", "arm64"), ("b", "amd64"), ("c", "amd64")] {
                let config = #"{"os":"linux","architecture":"\#(architecture)","rootfs":"\#(tag)"}"#
                _ = try await images.image([tag], tag, config: config, in: repository)
            }
            try await setRules(
                #"{"keep":"last","count":1,"by":"pushed","perPlatform":true},{"delete":"rest"}"#,
                images
            )
            let plan = try await plan(images)
            #expect(plan.tags.map(\.facts.platforms) == [["linux/arm64"], ["linux/amd64"], ["linux/amd64"]])
            #expect(plan.tags.map(\.verdict.decision) == [.keep, .delete, .keep])
        }
    }

    @Test(
        "every version of a policy stays, and a writer who knows another version is refused",
        arguments: Engine.available
    )
    func versions(_ engine: Engine) async throws {
        try await with(engine) { images in
            let scope = RetentionScope.repository(repository)
            let policy = try RetentionPolicy(decoding: #"{"version":1,"rules":[{"keep":"always"}]}"#.utf8)
            #expect(try await images.store.setPolicy(policy, of: scope, replacing: 0).version == 1)
            await #expect(throws: RegistryError.self) {
                try await images.store.setPolicy(policy, of: scope, replacing: 0)
            }
            #expect(try await images.store.setPolicy(nil, of: scope, replacing: 1).version == 2)
            #expect(try await images.store.policy(of: scope) == nil)
            #expect(try await images.store.policies(after: "", limit: 10) == [])
            #expect(try await images.store.setPolicy(policy, of: scope, replacing: 0).version == 3)
            #expect(try await images.store.policies(after: "", limit: 10).map(\.scope) == [scope])
            let versions = try await images.store.policyVersions(of: scope, before: nil, limit: 10)
            #expect(versions.map(\.version) == [3, 2, 1])
            #expect(versions.map(\.policy) == [policy, nil, policy])
        }
    }

    @Test("keeps a foreign layer that came after the manifest was pushed first", arguments: Engine.available)
    func foreignLayer(_ engine: Engine) async throws {
        try await with(engine) { images in
            func upload(_ text: String) async throws -> Digest {
                let digest = Digest(hashing: Array(text.utf8))
                let size = Int64(text.utf8.count)
                _ = try await images.store.commit(digest, size: size, at: .inline(Array(text.utf8)), in: repository)
                return digest
            }
            let layer = Digest(hashing: Array("foreign".utf8))
            let json = #"""
                {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "config":{"mediaType":"text/plain","digest":"\#(try await upload("config"))","size":6},
                "layers":[{"mediaType":"text/plain","digest":"\#(layer)","size":7,"urls":["https://example.com/"]}]}
                """#
            let manifest = try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
            try await images.push(manifest, "v1", in: repository)
            _ = try await upload("foreign")
            try await images.push(manifest, "v1", in: repository)
            try await images.collect()
            #expect(try await images.store.blob(layer, in: repository, promising: false).size == 7)
        }
    }

    @Test("is one process's to apply at a time", arguments: Engine.available)
    func job(_ engine: Engine) async throws {
        try await with(engine) { images in
            let job = Job("retention", interval: .zero, claim: .seconds(60))
            let claims = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 1...4 { group.addTask { try await images.store.claim(job) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(claims.count { $0 } == 1)
            try await images.store.finish(job)
            #expect(try await images.store.claim(job))
        }
    }
}

/// Pushes small images and asks what is there.
private struct Images: Sendable {
    let store: MetadataStore
    let database: any SQLDatabase

    /// An image with layers that consist of their names.
    func image(
        _ layers: [String],
        _ tag: String?,
        config: String = "{}",
        subject: Digest? = nil,
        in repository: RepositoryName
    ) async throws -> Manifest {
        func upload(_ text: String) async throws -> String {
            let digest = Digest(hashing: Array(text.utf8))
            let size = text.utf8.count
            _ = try await store.commit(digest, size: Int64(size), at: .inline(Array(text.utf8)), in: repository)
            return #"{"mediaType":"text/plain","digest":"\#(digest)","size":\#(size)}"#
        }
        var descriptors: [String] = []
        for layer in layers { descriptors.append(try await upload(layer)) }
        let about = subject.map { #","subject":{"mediaType":"text/plain","digest":"\#($0)","size":1}"# } ?? ""
        let json = #"""
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":\#(try await upload(config)),"layers":[\#(descriptors.joined(separator: ","))]\#(about)}
            """#
        let manifest = try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
        try await push(manifest, tag, in: repository)
        return manifest
    }

    func index(_ children: [Manifest], _ tag: String?, in repository: RepositoryName) async throws -> Manifest {
        let list = children.map {
            #"{"mediaType":"\#($0.mediaType)","digest":"\#($0.digest)","size":\#($0.bytes.count)}"#
        }
        let json = #"""
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
            "manifests":[\#(list.joined(separator: ","))]}
            """#
        let manifest = try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
        try await push(manifest, tag, in: repository)
        return manifest
    }

    func push(_ manifest: Manifest, _ tag: String?, in repository: RepositoryName) async throws {
        let tags = try tag.map { [try Tag(parsing: $0)] } ?? []
        let push = ManifestPush(manifest: manifest, tags: tags, condition: .none, allowsSparseIndex: false)
        try await store.put(push, in: repository)
    }

    /// Works off everything that is due, as the collector does.
    func collect() async throws {
        while try await store.collectReleasedManifests(limit: 20).hints > 0 {}
        while try await store.collectCondemnedManifest().hints > 0 {}
        while try await store.collectLinks(limit: 20).hints > 0 {}
        while try await store.collectBlobs(limit: 20).hints > 0 {}
        #expect(try await store.violations() == [])
    }

    /// Of all blobs and manifests.
    func bytes() async throws -> Int64 {
        try await database.read { db in
            let blobs = try db.run("SELECT CAST(sum(size) AS bigint) FROM blob").first?.optionalInt(0) ?? 0
            return blobs
                + (try db.run("SELECT CAST(sum(length(payload)) AS bigint) FROM manifest").first?.optionalInt(0) ?? 0)
        }
    }

    func tags(of repository: RepositoryName) async throws -> [String] {
        try await database.read { db in
            try db.run(
                """
                SELECT t.name FROM tag t JOIN repository r ON r.id = t.repo_id WHERE r.name = \(repository.text)
                ORDER BY t.name
                """
            ).map { $0.text(0) }
        }
    }

    func count(_ table: StaticString) async throws -> Int64 {
        try await database.read { try $0.run("SELECT count(*) FROM \(word: table)").first?.int(0) ?? -1 }
    }
}
