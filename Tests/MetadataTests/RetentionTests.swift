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

    @Test("frees exactly what its plan says, with what only the deleted named", arguments: Engine.available)
    func freed(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let base = try await images.image(["base", "one"], "old", in: repository)
            let amd64 = try await images.image(["base", "amd64"], nil, in: repository)
            let arm64 = try await images.image(["base", "arm64"], "arm", in: repository)
            let index = try await images.index([amd64, arm64], "multi", in: repository)
            _ = try await images.image(["signature"], nil, subject: index.digest, in: repository)
            _ = try await images.image(["elsewhere"], "x", in: repository)
            _ = try await images.image(["elsewhere"], "x", in: other)
            _ = try await images.image(["base", "new"], "new", in: repository)
            try await images.setRules(
                #"{"keep":"always","tags":["arm","new"]},{"delete":"rest"},{"delete":"untagged","days":1}"#
            )
            let before = try await images.bytes()
            let plan = try await images.plan(of: repository)
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

    @Test("frees what an earlier run has left to the collector only once", arguments: Engine.available)
    func freedTwice(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            _ = try await images.image(["A", "B"], "v1", config: "one", in: repository)
            _ = try await images.image(["B", "C"], "v2", config: "two", in: repository)
            _ = try await images.image(["C"], "elsewhere", config: "two", in: other)
            for (tag, blobs) in [("v1", ["A", "one"]), ("v2", ["B", "C", "two"])] {
                try await images.setRules(#"{"keep":"always","tags":["none"]},{"delete":"rest","tags":["\#(tag)"]}"#)
                // Its blobs go, too, unless somebody puts it back.
                if tag == "v2" { try await images.store.deleteRepository(other) }
                let plan = try await images.plan(of: repository)
                #expect(plan.freed.manifests == 1)
                #expect(plan.freed.blobs == blobs.count, "\(blobs)")
                _ = try await images.store.apply(plan, cause: "request")
                #expect(try await images.plan(of: repository).freed.manifests == 0)
            }
        }
    }

    @Test("a pull by digest is a pull of every tag that names it", arguments: Engine.available)
    func pulledByDigest(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], "v1", in: repository)
            try await images.database.write { try $0.run("UPDATE tag SET updated_at = 0") }
            try await images.setRules(#"{"delete":"unused","days":30}"#)
            #expect(try await images.plan(of: repository).tags.map(\.verdict.decision) == [.delete])
            try await images.store.addPulls([PulledReference(.digest(image.digest), in: repository): 1])
            #expect(try await images.plan(of: repository).tags.map(\.verdict.decision) == [.keep])
            let plan = try await images.plan(of: repository).tags.first
            let tag = try #require(try await images.store.tagEntries(in: repository, after: "", limit: 1).first)
            #expect(tag.pulledAt == plan?.facts.pulledAt && tag.pulledAt != nil)
            #expect(tag.pulls == 0 && tag.pullsByDigest == 1)
            let manifest = try await images.store.manifestEntries(in: repository, after: nil, limit: 1).first
            #expect(manifest?.pulls == 1 && manifest?.pulledAt == tag.pulledAt)
        }
    }

    @Test("forgets how often something was pulled with the thing itself", arguments: Engine.available)
    func pulls(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
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
        try await Images.with(engine) { images in
            let tag = Reference.tag(try Tag(parsing: "v1"))
            let image = try await images.image(["layer"], "v1", in: repository)
            func expiry() async throws -> Int64? {
                try await images.store.manifest(tag, in: repository, promising: false).expiresAt
            }
            for (days, isNear) in [(3, true), (30, false)] {
                try await images.setRules(#"{"delete":"old","days":\#(days)}"#)
                let plan = try await images.plan(of: repository)
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
        try await Images.with(engine, window: .seconds(3600)) { images in
            let tag = try Tag(parsing: "v1")
            _ = try await images.image(["layer"], "v1", in: repository)
            _ = try await images.image(["newer"], "v2", in: repository)
            try await images.database.write { try $0.run("UPDATE tag SET updated_at = 0 WHERE name = 'v1'") }
            try await images.setRules(Images.keepNewest)
            #expect(try await images.store.apply(try await images.plan(of: repository), cause: "schedule").tags == 1)
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
        try await Images.with(engine) { images in
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
            try await images.setRules(Images.deleteAll, of: .repository(repository))
            #expect(try await images.store.apply(try await images.plan(of: repository), cause: "request").tags == 2)
        }
    }

    @Test(
        "counts the last of each platform, as an index or an image's configuration names it",
        arguments: Engine.available
    )
    func platforms(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            for (tag, architecture) in [("a", "arm64"), ("b", "amd64"), ("c", "amd64")] {
                let config = #"{"os":"linux","architecture":"\#(architecture)","rootfs":"\#(tag)"}"#
                _ = try await images.image([tag], tag, config: config, in: repository)
            }
            try await images.setRules(
                #"{"keep":"last","count":1,"by":"pushed","perPlatform":true},{"delete":"rest"}"#
            )
            let plan = try await images.plan(of: repository)
            #expect(plan.tags.map(\.facts.platforms) == [["linux/arm64"], ["linux/amd64"], ["linux/amd64"]])
            #expect(plan.tags.map(\.verdict.decision) == [.keep, .delete, .keep])
        }
    }

    @Test(
        "reads a configuration that is an object once, and keeps an image whose is not there: it may be the last of any platform",
        arguments: Engine.available
    )
    func largeConfiguration(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let config = #"{"os":"linux","architecture":"amd64","history":"a long one"}"#
            let digest = Digest(hashing: Array(config.utf8))
            try await images.store.registerKeys([[1]])
            _ = try await images.store.commit(
                digest,
                size: Int64(config.utf8.count),
                at: .object([1]),
                in: repository
            )
            _ = try await images.image(["layer"], "image", config: config, in: repository)
            _ = try await images.image(["chart"], "chart", in: repository)
            try await images.database.write { try $0.run("UPDATE tag SET updated_at = 0 WHERE name = 'image'") }
            try await images.setRules(
                #"{"keep":"last","count":1,"by":"pushed","perPlatform":true},{"delete":"rest"}"#
            )
            for lost in [nil, Array(config.utf8.dropLast())] {
                let plan = try await images.plan(of: repository) { _, _ in lost }
                #expect(plan.tags.map(\.facts.platforms) == [[], nil])
                #expect(plan.tags.map(\.verdict.decision) == [.keep, .keep])
            }
            await #expect(throws: Unreachable.self) {
                try await images.plan(of: repository) { _, _ in throw Unreachable() }
            }
            let read = try await images.plan(of: repository) { key, size in
                #expect(key == [1] && size == Int64(config.utf8.count))
                return Array(config.utf8)
            }
            #expect(read.tags.map(\.facts.platforms) == [[], ["linux/amd64"]])
            let again = try await images.plan(of: repository) { _, _ in throw Unreachable() }
            #expect(again.tags.map(\.verdict) == read.tags.map(\.verdict))
        }
    }

    private struct Unreachable: Error {}

    @Test("does not read a configuration that is too large for an image's", arguments: Engine.available)
    func hugeConfiguration(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await images.image(["layer"], "v1", config: "{}", in: repository)
            let (config, size) = (Digest(hashing: Array("{}".utf8)), MetadataStore.maximumConfigurationSize + 1)
            try await images.database.write { db in
                try db.run("DELETE FROM blob_inline WHERE digest = \(config)")
                try db.run("INSERT INTO blob_copy (digest, skey) VALUES (\(config), \([UInt8](arrayLiteral: 1)))")
                try db.run("UPDATE blob SET size = \(size) WHERE digest = \(config)")
            }
            try await images.setRules(#"{"keep":"last","count":1,"by":"pushed","perPlatform":true},{"delete":"rest"}"#)
            let plan = try await images.plan(of: repository) { _, _ in throw Unreachable() }
            #expect(plan.tags.map(\.facts.platforms) == [nil])
        }
    }

    @Test("takes back what it said of a tag once no policy holds any more", arguments: Engine.available)
    func withdrawn(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            _ = try await images.image(["layer"], "v1", in: other)
            func announced() async throws -> Set<RepositoryName> {
                Set(try await images.store.repositoriesWithAnnouncements(after: "", limit: 10))
            }
            try await images.setRules(#"{"delete":"old","days":3}"#, of: .namespace("team"))
            for name in [repository, other] {
                let plan = try await images.plan(of: name)
                _ = try await images.store.apply(plan, cause: "schedule")
            }
            #expect(try await announced() == [repository, other])
            try await images.store.withdrawAnnouncements(of: repository)
            #expect(try await announced() == [repository, other], "a policy still holds")
            _ = try await images.store.setPolicy(nil, of: .namespace("team"))
            try await images.store.withdrawAnnouncements(of: repository)
            #expect(try await announced() == [other])
            let tag = Reference.tag(try Tag(parsing: "v1"))
            #expect(try await images.store.manifest(tag, in: repository, promising: false).expiresAt == nil)
        }
    }

    @Test(
        "every version of a policy stays, and a writer who knows another version is refused",
        arguments: Engine.available
    )
    func versions(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
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
        try await Images.with(engine) { images in
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
        try await Images.with(engine) { images in
            let job = Job("retention", interval: .zero, claim: .seconds(60))
            let claims = try await withThrowingTaskGroup(of: ClaimedJob?.self) { group in
                for _ in 1...4 { group.addTask { try await images.store.claim(job) } }
                return try await group.reduce(into: []) { $0.append($1) }.compactMap(\.self)
            }
            #expect(claims.map(\.progress) == [""])
            var first = try #require(claims.first)
            try await images.store.keep(&first, at: "half")
            try await images.store.keep(&first)
            try await images.database.write { try $0.run("UPDATE job SET claimed_until = 0") }
            var second = try #require(try await images.store.claim(job))
            #expect(second.progress == "half", "where another process has stopped")
            await #expect(throws: JobTaken.self, "it stood still") { try await images.store.keep(&first, at: "later") }
            await #expect(throws: JobTaken.self) { try await images.store.finish(first) }
            #expect(try await images.store.claim(job) == nil)
            try await images.store.keep(&second)
            try await images.store.finish(second)
            #expect(try await images.store.claim(job)?.progress == "")
        }
    }

    @Test(
        "is applied by a shorter interval soon, however long the one was by which it ended",
        arguments: Engine.available
    )
    func shorterInterval(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let (month, hour) = (Duration.seconds(30 * 86_400), Duration.seconds(3600))
            let (old, new) = (
                Job("retention", interval: month, claim: hour), Job("retention", interval: hour, claim: hour)
            )
            for (last, next, isDue) in [(old, old, false), (old, new, true), (new, new, false), (new, old, false)] {
                try await images.database.write { try $0.run("DELETE FROM job") }
                let claimed = try #require(try await images.store.claim(last))
                try await images.store.finish(claimed)
                #expect((try await images.store.claim(next) != nil) == isDue)
            }
        }
    }
}
