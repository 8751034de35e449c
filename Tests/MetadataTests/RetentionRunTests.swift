import Metadata
import OCI
import Retention
import SQLStore
import Testing

@Suite("A plan that is carried out")
struct RetentionRunTests {
    private let repository: RepositoryName
    private let other: RepositoryName

    init() throws {
        repository = try RepositoryName(parsing: "team/app")
        other = try RepositoryName(parsing: "team/other")
    }

    @Test("lets a tag be that was pushed or pulled after the plan was made", arguments: Engine.available)
    func overtaken(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            for tag in ["a", "b", "c"] { _ = try await images.image([tag], tag, in: repository) }
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            try await images.database.write {
                try $0.run("UPDATE tag SET updated_at = updated_at + 1 WHERE name = 'a'")
            }
            try await images.store.addPulls([PulledReference(.tag(try Tag(parsing: "b")), in: repository): 1])
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 1)
            #expect(try await images.tags(of: repository) == ["a", "b"])
        }
    }

    /// An image under a tag, and its signature under the tag of such.
    private func signed(_ tag: String, _ images: Images) async throws -> String {
        let image = try await images.image([tag], tag, in: repository)
        let signature = "\(image.digest)".replacing(":", with: "-") + ".sig"
        _ = try await images.image(["signature of " + tag], signature, in: repository)
        return signature
    }

    @Test("deletes signatures with what they sign, and counts none", arguments: Engine.available)
    func signatures(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await signed("v1", images)
            let kept = try await signed("v2", images)
            try await images.setRules(Images.keepNewest)
            let plan = try await images.plan(of: repository)
            #expect(plan.freed.manifests == 2)
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 2)
            #expect(try await images.tags(of: repository) == [kept, "v2"])
        }
    }

    @Test("lets a signature be with what it signs, pulled or named anew after the plan", arguments: Engine.available)
    func signatureOfOvertaken(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let (one, other) = (try await signed("v1", images), try await signed("v2", images))
            let third = try await signed("v3", images)
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            try await images.store.addPulls([PulledReference(.tag(try Tag(parsing: "v1")), in: repository): 1])
            // Whoever verifies a signature pulls it; that alone keeps nothing.
            try await images.store.addPulls([PulledReference(.tag(try Tag(parsing: third)), in: repository): 1])
            let image = try await images.store.manifest(.tag(try Tag(parsing: "v2")), in: repository, promising: false)
            let manifest = try Manifest(decoding: image.bytes, declaredType: image.mediaType)
            try await images.push(manifest, "again", in: repository)
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 3)
            #expect(Set(try await images.tags(of: repository)) == ["again", "v1", one, other])
        }
    }

    @Test("lets a signature be whose image was deleted, or pushed anew, after the plan", arguments: Engine.available)
    func signatureOfAnother(_ engine: Engine) async throws {
        try await Images.with(engine, window: .seconds(3600)) { images in
            let image = try await images.image(["layer"], "v1", in: repository)
            let signature = "\(image.digest)".replacing(":", with: "-") + ".sig"
            _ = try await images.image(["signature"], signature, in: repository)
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            #expect(plan.tags.map(\.verdict.decision) == [.delete, .delete])
            try await images.store.deleteManifest(image.digest, in: repository)
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 0)
            try await images.push(image, "v1", in: repository)
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 0)
            #expect(Set(try await images.tags(of: repository)) == [signature, "v1"])
        }
    }

    @Test("lets a signature be whose image came after the plan was made", arguments: Engine.available)
    func signatureBeforeImage(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], nil, in: other)
            let signature = "\(image.digest)".replacing(":", with: "-") + ".sig"
            _ = try await images.image(["signature"], signature, in: repository)
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            #expect(plan.tags.map(\.verdict.decision) == [.delete])
            _ = try await images.image(["layer"], nil, in: repository)
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 0)
            #expect(try await images.tags(of: repository) == [signature])
        }
    }

    @Test("deletes nothing once a tag is gone that was among the last", arguments: Engine.available)
    func keptTagIsGone(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            for tag in ["v1", "v2"] { _ = try await images.image([tag], tag, in: repository) }
            try await images.setRules(Images.keepNewest)
            let plan = try await images.plan(of: repository)
            try await images.store.deleteTag(try Tag(parsing: "v2"), in: repository)
            await #expect(throws: RegistryError.self) { try await images.store.apply(plan, cause: "schedule") }
            #expect(try await images.tags(of: repository) == ["v1"])
        }
    }

    @Test("goes on although a tag is gone that was kept but not among the last", arguments: Engine.available)
    func keptForItself(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            for tag in ["latest", "v1", "v2"] { _ = try await images.image([tag], tag, in: repository) }
            try await images.setRules(
                #"{"keep":"always","tags":["latest"]},{"keep":"last","count":1,"by":"pushed","tags":["v?"]},{"delete":"rest"}"#
            )
            let plan = try await images.plan(of: repository)
            try await images.store.deleteTag(try Tag(parsing: "latest"), in: repository)
            #expect(try await images.store.apply(plan, cause: "schedule").tags == 1)
            #expect(try await images.tags(of: repository) == ["v2"])
        }
    }

    @Test("deletes nothing once the last of a platform runs on another one", arguments: Engine.available)
    func movedToPlatform(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            func push(_ tag: String, on architecture: String) async throws {
                let config = #"{"os":"linux","architecture":"\#(architecture)","rootfs":"\#(tag)"}"#
                _ = try await images.image([tag], tag, config: config, in: repository)
            }
            for (tag, architecture) in [("a", "arm64"), ("b", "arm64"), ("c", "amd64")] {
                try await push(tag, on: architecture)
            }
            try await images.setRules(
                #"{"keep":"last","count":1,"by":"pushed","perPlatform":true},{"delete":"rest"}"#
            )
            let plan = try await images.plan(of: repository)
            #expect(plan.tags.map(\.verdict.decision) == [.delete, .keep, .keep])
            try await push("b", on: "amd64")
            await #expect(throws: RegistryError.self) { try await images.store.apply(plan, cause: "schedule") }
            #expect(try await images.tags(of: repository) == ["a", "b", "c"])
        }
    }

    @Test("does nothing once the policies or the holds have changed", arguments: Engine.available)
    func superseded(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            _ = try await images.image(["layer"], "v1", in: repository)
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            try await images.setRules(#"{"keep":"always"}"#, of: .namespace("team"))
            await #expect(throws: RegistryError.self) { try await images.store.apply(plan, cause: "schedule") }
            #expect(try await images.tags(of: repository) == ["v1"])
        }
    }

    @Test("is one run in the history, whatever number of batches it takes", arguments: Engine.available)
    func batches(_ engine: Engine) async throws {
        try await Images.with(engine) { images in
            let image = try await images.image(["layer"], nil, in: repository)
            for number in 10..<55 { try await images.push(image, "v\(number)", in: repository) }
            try await images.setRules(Images.deleteAll)
            let plan = try await images.plan(of: repository)
            let run = try await images.store.apply(plan, cause: "request")
            #expect((run.tags, run.bytes) == (45, plan.freed.bytes))
            #expect(try await images.store.retentionRuns(of: repository, before: nil, limit: 10) == [run])
        }
    }

    @Test("writes down what it deleted, also if it is stopped half way", arguments: Engine.available)
    func stoppedHalfWay(_ engine: Engine) async throws {
        for isPolicy in [true, false] {
            try await Images.with(engine) { images in
                let image = try await images.image(["layer"], nil, in: repository)
                for number in 10..<60 { try await images.push(image, "v\(number)", in: repository) }
                try await images.setRules(
                    #"{"keep":"last","count":5,"by":"version"},{"keep":"last","count":5,"by":"pushed"},{"delete":"rest"}"#
                )
                let plan = try await images.plan(of: repository)
                #expect(plan.tags.count { $0.verdict.decision == .delete } == 45)
                var work = RetentionWork(plan, cause: "request")
                #expect(try await images.store.advance(&work))
                if isPolicy {
                    _ = try await images.store.setPolicy(nil, of: .registry)
                } else {
                    try await images.store.deleteTag(try Tag(parsing: "v59"), in: repository)
                }
                do {
                    _ = try await images.store.advance(&work)
                    Issue.record("nothing stopped it")
                } catch let error as RegistryError {
                    #expect(error.code == .preconditionFailed)
                    #expect(error.description.contains("20 of 45 tags were deleted"), "\(error)")
                }
                #expect(work.run.tags == 20)
                #expect(try await images.store.retentionRuns(of: repository, before: nil, limit: 10) == [work.run])
                #expect(try await images.tags(of: repository).count == (isPolicy ? 30 : 29))
            }
        }
    }
}
