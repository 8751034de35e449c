import Metadata
import OCI
import Retention
import SQLStore
import Testing

@Suite("Collection")
struct CollectionTests {
    private let repository: RepositoryName
    private let other: RepositoryName

    init() throws {
        repository = try RepositoryName(parsing: "team/app")
        other = try RepositoryName(parsing: "team/other")
    }

    private func with(
        _ engine: Engine,
        promises: Promises = Promises(
            lease: .zero,
            window: .zero,
            upload: .seconds(60),
            blobDelay: .zero,
            trash: .zero
        ),
        _ body: @Sendable (CollectionFixture) async throws -> Void
    ) async throws {
        try await engine.withStore { _, database in
            try await body(CollectionFixture(store: MetadataStore(database, promises: promises), database: database))
        }
    }

    @Test("removes what was uploaded and never listed, and gives its object to the trash", arguments: Engine.available)
    func unreferenced(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            _ = try await fixture.upload("small", to: repository)
            _ = try await fixture.upload("large", to: repository, key: 1)
            try await fixture.collect()
            #expect(try await fixture.count("repo_blob") == 0)
            #expect(try await fixture.count("blob") == 0)
            let objects = try await fixture.store.claimTrash(limit: 10)
            #expect(objects.map(\.key) == [Array(repeating: 1, count: 16)])
            #expect(objects.map(\.size) == [5])
            #expect(objects.map(\.wasPublished) == [true])
            #expect(try await fixture.store.confirm(objects) == objects)
            #expect(try await fixture.store.claimTrash(limit: 10) == [], "it is claimed")
            try await fixture.store.forget(objects.map(\.key))
            #expect(try await fixture.count("object_trash") == 0)
            #expect(try await fixture.count("gc_hint") == 0)
        }
    }

    @Test("keeps what is promised until the promise is over", arguments: Engine.available)
    func promised(_ engine: Engine) async throws {
        try await with(engine, promises: .standard) { fixture in
            let blob = try await fixture.upload("layer", to: repository)
            try await fixture.database.write { try $0.run("UPDATE gc_hint SET due_at = 0") }
            try await fixture.collect()
            #expect(try await fixture.store.blob(blob, in: repository, promising: false).size == 5)
            #expect(try await fixture.count("gc_hint") == 1, "it is looked at again")
            try await fixture.database.write { try $0.run("UPDATE repo_blob SET lease_until = 0") }
            try await fixture.database.write { try $0.run("UPDATE gc_hint SET due_at = 0") }
            try await fixture.collect()
            #expect(try await fixture.count("repo_blob") == 0)
            #expect(try await fixture.count("blob") == 1, "for the next push of it")
        }
    }

    @Test("keeps a blob that another manifest or another repository needs", arguments: Engine.available)
    func shared(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for name in [repository, other] {
                for blob in ["base", "config"] { _ = try await fixture.upload(blob, to: name) }
            }
            _ = try await fixture.upload("own", to: repository)
            let (first, second) = (try fixture.image("config", ["base"]), try fixture.image("config", ["base", "own"]))
            try await fixture.push(first, "a", to: repository)
            try await fixture.push(second, "b", to: repository)
            try await fixture.push(first, "a", to: other)
            try await fixture.store.deleteManifest(second.digest, in: repository)
            try await fixture.collect()
            #expect(try await fixture.count("repo_blob") == 4)
            #expect(try await fixture.count("blob") == 2)
            try await fixture.store.deleteManifest(first.digest, in: repository)
            try await fixture.collect()
            #expect(try await fixture.count("repo_blob") == 2)
            #expect(try await fixture.count("blob") == 2)
            try await fixture.store.deleteManifest(first.digest, in: other)
            try await fixture.collect()
            #expect(try await fixture.count("blob") == 0)
        }
    }

    @Test("keeps an untagged manifest for ever unless there is a rule", arguments: Engine.available)
    func untagged(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            try await fixture.push(image, "v1", to: repository)
            try await fixture.store.deleteTag(try Tag(parsing: "v1"), in: repository)
            try await fixture.collect()
            #expect(try await fixture.count("manifest") == 1)
            #expect(try await fixture.count("gc_hint") == 0)
            try await fixture.push(image, nil, to: repository)
            try await fixture.collect(untagged: 1)
            #expect(try await fixture.count("manifest") == 1, "too young")
            #expect(try await fixture.count("gc_hint") == 1)
            try await fixture.push(image, nil, to: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 0)
            #expect(try await fixture.count("blob") == 0)
        }
    }

    @Test("keeps what was condemned and then named again, also when that name goes, too", arguments: Engine.available)
    func revived(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            let (first, second) = (try fixture.index([image]), try fixture.index([image, image]))
            try await fixture.push(image, nil, to: repository)
            try await fixture.push(first, nil, to: repository)
            try await fixture.setUntaggedRule(days: 0)
            // The image's own hint is dropped, and the index goes, which condemns the image.
            for _ in 1...2 { _ = try await fixture.store.collectReleasedManifests(limit: 20) }
            #expect(try await fixture.count("manifest") == 1)
            #expect(try await fixture.count("gc_hint WHERE kind = 4") == 1)
            try await fixture.push(second, "v1", to: repository)
            try await fixture.store.deleteManifest(second.digest, in: repository)
            try await fixture.collect()
            #expect(try await fixture.count("manifest") == 1, "no rule says so any more")
            try await fixture.push(image, "v2", to: repository)
            #expect(try await fixture.count("gc_hint WHERE kind = 4") == 0)
        }
    }

    @Test(
        "keeps what had another name than the index that a rule deletes, also when that name goes",
        arguments: Engine.available
    )
    func namedOtherwise(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            try await fixture.push(image, "v1", to: repository)
            try await fixture.push(try fixture.index([image]), nil, to: repository)
            try await fixture.setUntaggedRule(days: 0)
            while try await fixture.store.collectReleasedManifests(limit: 20).hints > 0 {}
            #expect(try await fixture.count("manifest") == 1)
            // Before the collector comes to what the index listed, and without a rule for what is untagged by now.
            try await fixture.setUntaggedRule(days: nil)
            try await fixture.store.deleteTag(try Tag(parsing: "v1"), in: repository)
            try await fixture.collect()
            #expect(try await fixture.count("manifest") == 1)
        }
    }

    @Test(
        "takes an index together with its children and what is about them, but nothing that is named",
        arguments: Engine.available
    )
    func closure(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "amd64", "arm64", "signature"] { _ = try await fixture.upload(blob, to: repository) }
            let (amd64, arm64) = (try fixture.image("config", ["amd64"]), try fixture.image("config", ["arm64"]))
            let index = try fixture.index([amd64, arm64])
            let signature = try fixture.image("config", ["signature"], subject: index.digest)
            try await fixture.push(amd64, nil, to: repository)
            try await fixture.push(arm64, "arm", to: repository)
            try await fixture.push(index, "v1", to: repository)
            try await fixture.push(signature, nil, to: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 4, "children and referrers are no untagged garbage")
            try await fixture.store.deleteTag(try Tag(parsing: "v1"), in: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 1)
            #expect(
                try await fixture.store.manifest(.digest(arm64.digest), in: repository, promising: false).bytes
                    == arm64.bytes
            )
        }
    }

    @Test("looks again at what is about a manifest when that was deleted by request", arguments: Engine.available)
    func subjectDeleted(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for text in ["config", "signature"] { _ = try await fixture.upload(text, to: repository) }
            let image = try fixture.image("config", [])
            let signature = try fixture.image("config", ["signature"], subject: image.digest)
            try await fixture.push(image, "v1", to: repository)
            try await fixture.push(signature, nil, to: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 2)
            try await fixture.store.deleteManifest(image.digest, in: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 0)
        }
    }

    @Test("puts back what was deleted, with what went with it", arguments: Engine.available)
    func restores(_ engine: Engine) async throws {
        try await with(engine, promises: .standard) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            let index = try fixture.index([image])
            try await fixture.push(image, nil, to: repository)
            try await fixture.push(index, "v1", to: repository)
            let tag = try Tag(parsing: "v1")
            try await fixture.store.deleteTag(tag, in: repository)
            #expect(try await fixture.store.restore(.tag(tag), in: repository).tags == [tag])
            try await fixture.store.deleteManifest(index.digest, in: repository)
            try await fixture.store.deleteManifest(image.digest, in: repository)
            // The repository's links are gone, the blobs are not.
            try await fixture.database.write { db in
                try db.run("UPDATE gc_hint SET due_at = 0")
                try db.run("UPDATE repo_blob SET lease_until = 0")
            }
            while try await fixture.store.collectLinks(limit: 20).hints > 0 {}
            #expect(try await fixture.count("repo_blob") == 0)
            let restored = try await fixture.store.restore(.digest(index.digest), in: repository)
            #expect(restored.tags == [tag])
            #expect(restored.manifests == [image.digest, index.digest])
            #expect(try await fixture.store.manifest(.tag(tag), in: repository, promising: false).bytes == index.bytes)
            #expect(try await fixture.count("repo_blob") == 2)
            #expect(try await fixture.store.violations() == [])
            await #expect(throws: RegistryError.self) {
                try await fixture.store.restore(.digest(index.digest), in: repository)
            }
        }
    }

    @Test("puts a manifest back without what had been deleted before it", arguments: Engine.available)
    func restoresWithoutOthers(_ engine: Engine) async throws {
        try await with(engine, promises: .standard) { fixture in
            for blob in ["config", "layer", "signature"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            let signature = try fixture.image("config", ["signature"], subject: image.digest)
            try await fixture.push(image, "v1", to: repository)
            try await fixture.push(signature, nil, to: repository)
            try await fixture.store.deleteManifest(signature.digest, in: repository)
            try await fixture.database.write { db in
                try db.run("UPDATE deleted_manifest SET deleted_at = deleted_at - 1")
                try db.run("UPDATE gc_hint SET due_at = 0")
                try db.run("UPDATE repo_blob SET lease_until = 0")
            }
            try await fixture.store.deleteManifest(image.digest, in: repository)
            while try await fixture.store.collectLinks(limit: 20).hints > 0 {}
            try await fixture.database.write { try $0.run("UPDATE gc_hint SET due_at = 0") }
            while try await fixture.store.collectBlobs(limit: 20).hints > 0 {}
            #expect(try await fixture.count("blob") == 2, "that of the signature is gone")
            #expect(try await fixture.store.restore(.digest(image.digest), in: repository).manifests == [image.digest])
        }
    }

    @Test("cannot put back what has lost its bytes, and then changes nothing", arguments: Engine.available)
    func lost(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            try await fixture.push(image, "v1", to: repository)
            try await fixture.store.deleteManifest(image.digest, in: repository)
            try await fixture.collect()
            _ = try await fixture.upload("config", to: other)
            do {
                _ = try await fixture.store.restore(.digest(image.digest), in: repository)
                Issue.record("it was put back without its layer")
            } catch let error as RegistryError { #expect(error.entries.map(\.code) == [.manifestBlobUnknown]) }
            #expect(try await fixture.count("manifest") == 0)
            #expect(try await fixture.count("repo_blob") == 1)
        }
    }

    @Test("empties a deleted repository, whose name is free at once", arguments: Engine.available)
    func repositoryDeletion(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            try await fixture.push(image, "v1", to: repository)
            try await fixture.push(try fixture.index([image]), "v2", to: repository)
            try await fixture.store.deleteRepository(repository)
            await #expect(throws: RegistryError.self) {
                try await fixture.store.manifest(.tag(try Tag(parsing: "v1")), in: repository, promising: false)
            }
            _ = try await fixture.upload("config", to: repository)
            try await fixture.push(try fixture.image("config", []), "v1", to: repository)
            try await fixture.collect()
            #expect(try await fixture.count("manifest") == 1)
            #expect(try await fixture.count("tag") == 1)
            #expect(try await fixture.count("blob") == 1)
            #expect(try await fixture.count("deleted_repository") == 1, "late commits are looked for")
        }
    }

    @Test("puts a deleted repository back, unless there is a new one of its name", arguments: Engine.available)
    func repositoryRestored(_ engine: Engine) async throws {
        try await with(engine, promises: .standard) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            try await fixture.push(image, "v1", to: repository)
            try await fixture.store.deleteRepository(repository)
            try await fixture.collect()
            try await fixture.store.restoreRepository(repository)
            let tag = Reference.tag(try Tag(parsing: "v1"))
            #expect(try await fixture.store.manifest(tag, in: repository, promising: false).bytes == image.bytes)
            try await fixture.store.deleteRepository(repository)
            _ = try await fixture.upload("config", to: repository)
            await #expect(throws: RegistryError.self) { try await fixture.store.restoreRepository(repository) }
        }
    }

    @Test("looks at what a rule says of a repository that was put back, too", arguments: Engine.available)
    func repositoryRestoredWithGarbage(_ engine: Engine) async throws {
        try await with(engine, promises: .standard) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            try await fixture.push(try fixture.image("config", ["layer"]), nil, to: repository)
            try await fixture.store.deleteRepository(repository)
            // The collector comes to the manifest while it is in no repository.
            try await fixture.database.write { try $0.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 1") }
            try await fixture.collect(untagged: 1)
            try await fixture.store.restoreRepository(repository)
            try await fixture.database.write { db in
                try db.run("UPDATE manifest SET created_at = 0, keep_until = 0")
                try db.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 1")
            }
            try await fixture.collect(untagged: 1)
            #expect(try await fixture.count("manifest") == 0)
        }
    }

    @Test("does not put a repository back that is being emptied", arguments: Engine.available)
    func repositoryHalfEmptied(_ engine: Engine) async throws {
        try await with(engine, promises: .standard) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            for tag in ["v1", "v2"] { try await fixture.push(image, tag, to: repository) }
            try await fixture.store.deleteRepository(repository)
            // As for a restore that had begun just before, and waits for the row.
            try await fixture.database.write { try $0.run("UPDATE deleted_repository SET purge_at = 0") }
            #expect(try await fixture.store.purgeRepository(limit: 1).hints == 1)
            await #expect(throws: RegistryError.self) { try await fixture.store.restoreRepository(repository) }
        }
    }

    @Test("looks at what was about a manifest that is deleted", arguments: Engine.available)
    func referrersOfDeleted(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "signature"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", [])
            try await fixture.push(image, "v1", to: repository)
            try await fixture.push(
                try fixture.image("config", ["signature"], subject: image.digest),
                nil,
                to: repository
            )
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 2)
            try await fixture.store.deleteManifest(image.digest, in: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 0)
        }
    }

    @Test("explains what keeps a blob and a manifest, and what let go of them", arguments: Engine.available)
    func explains(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            let layer = try await fixture.upload("layer", to: repository, key: 3)
            _ = try await fixture.upload("config", to: repository)
            let image = try fixture.image("config", ["layer"])
            let index = try fixture.index([image])
            try await fixture.push(image, nil, to: repository)
            try await fixture.push(index, "v1", to: repository)
            let link = try await fixture.store.explain(layer).blob?.links.first
            #expect(link?.repository == "team/app")
            #expect(link?.manifests.map(\.digest) == ["\(image.digest)"])
            #expect(link?.manifests.flatMap(\.indexes).map(\.digest) == ["\(index.digest)"])
            #expect(link?.manifests.flatMap(\.indexes).map(\.tags) == [["v1"]])
            #expect(try await fixture.store.explain(index.digest).manifests.map(\.manifest.tags) == [["v1"]])
            try await fixture.store.deleteManifest(index.digest, in: repository)
            try await fixture.store.deleteManifest(image.digest, in: repository)
            try await fixture.collect()
            #expect(try await fixture.store.explain(image.digest).deleted.map(\.reason) == ["deleted by request"])
            #expect(try await fixture.store.explain(layer).trash.count == 1)
            #expect(try await fixture.store.explain(Digest(hashing: [1])).isEmpty)
        }
    }

    @Test("keeps what a hold is on, and looks again when it is released", arguments: Engine.available)
    func holds(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer"] { _ = try await fixture.upload(blob, to: repository) }
            let image = try fixture.image("config", ["layer"])
            try await fixture.push(image, nil, to: repository)
            let hold = try await fixture.store.setHold(
                RetentionHold(kind: .inUse, subject: .digest(image.digest), reason: "runs"),
                in: repository
            )
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 1)
            try await fixture.store.releaseHold(hold.id, in: repository)
            try await fixture.collect(untagged: 0)
            #expect(try await fixture.count("manifest") == 0)
        }
    }

    @Test(
        "puts off in one step all manifests that are too young, and lets those be that have another name",
        arguments: Engine.available
    )
    func manyReleased(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            _ = try await fixture.upload("config", to: repository)
            for number in 1...8 {
                _ = try await fixture.upload("layer \(number)", to: repository)
                let image = try fixture.image("config", ["layer \(number)"])
                try await fixture.push(image, "latest", to: repository)
                if number > 4 { try await fixture.push(image, "v\(number)", to: repository) }
            }
            try await fixture.setUntaggedRule(days: 1)
            #expect(try await fixture.store.collectReleasedManifests(limit: 20).hints >= 7)
            #expect(try await fixture.store.collectReleasedManifests(limit: 20).hints == 0, "all is done")
            #expect(try await fixture.count("manifest") == 8)
            try await fixture.database.write { db in
                try db.run("UPDATE manifest SET created_at = 0, keep_until = 0")
                try db.run("UPDATE gc_hint SET due_at = 0 WHERE kind = 1")
            }
            var steps = 0
            while try await fixture.store.collectReleasedManifests(limit: 20).hints > 0 { steps += 1 }
            #expect(try await fixture.count("manifest") == 4, "what is still tagged")
            #expect(steps <= 4, "one for each manifest that goes")
        }
    }

    @Test("finds what no hint leads to, and nothing else", arguments: Engine.available)
    func audited(_ engine: Engine) async throws {
        try await with(engine) { fixture in
            for blob in ["config", "layer", "lost", "waits"] { _ = try await fixture.upload(blob, to: repository) }
            try await fixture.push(try fixture.image("config", ["layer"]), "v1", to: repository)
            let (lost, bare) = (Digest(hashing: Array("lost".utf8)), Digest(hashing: Array("bare".utf8)))
            _ = try await fixture.upload("bare", to: other)
            try await fixture.database.write { db in
                try db.run("DELETE FROM gc_hint WHERE ref IN (SELECT id FROM repo_blob WHERE digest = \(lost))")
                try db.run("DELETE FROM gc_hint WHERE ref IN (SELECT id FROM repo_blob WHERE digest = \(bare))")
                try db.run("DELETE FROM repo_blob WHERE digest = \(bare)")
            }
            #expect(try await fixture.store.hintForgotten() == 2)
            #expect(try await fixture.store.hintForgotten() == 0)
            try await fixture.collect()
            #expect(try await fixture.count("blob") == 2)
        }
    }

    @Test("ends abandoned uploads and gives their keys to whoever deletes them", arguments: Engine.available)
    func sessions(_ engine: Engine) async throws {
        let promises = Promises(lease: .zero, window: .zero, upload: .zero, blobDelay: .zero, trash: .zero)
        try await with(engine, promises: promises) { fixture in
            let key = Array(repeating: UInt8(9), count: 16)
            try await fixture.store.registerKeys([key])
            let upload = UploadRecord(
                id: [1],
                repository: repository,
                received: 5,
                hashState: [2],
                location: .object(key),
                storageState: [7]
            )
            try await fixture.store.save(upload, after: nil)
            let ended = try await fixture.store.expireUploads(limit: 10)
            #expect(ended.map(\.keys) == [[key]])
            #expect(ended.map(\.storageState) == [[7]])
            #expect(try await fixture.count("upload_session") == 0)
            #expect(try await fixture.store.claimTrash(limit: 10) == [], "it is claimed already")
            try await fixture.store.forget([key])
            #expect(try await fixture.count("object_trash") == 0)
        }
    }
}
