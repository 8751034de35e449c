import Metadata
import OCI
import Retention
import SQLStore
import Testing

private typealias Scene = QueryLockTests.Scene

/// The collectors of manifests on PostgreSQL, beside those who need what they are about to remove: one of the two stands still
/// in the middle of its transaction while the other one comes.
@Suite("Collectors of manifests on PostgreSQL", .serialized, .enabled(if: Engine.server != nil))
struct ManifestCollectorLockTests {
    /// Of manifests that lost their names to a client, or to a rule.
    enum Collector: Int, CaseIterable, Sendable {
        case released = 1
        case condemned = 4

        fileprivate func collect(_ scene: Scene) async throws -> Collected {
            switch self {
            case .released: try await scene.otherNode.collectReleasedManifests(limit: 10)
            case .condemned: try await scene.otherNode.collectCondemnedManifest()
            }
        }
    }

    /// Who needs a manifest that has no name any more.
    enum Writer: CaseIterable, Sendable {
        /// A push of it under a tag, and without one.
        case tag, push
        /// A HEAD that promises it.
        case head
        /// The push of an index that lists it.
        case index
        /// An undelete of its tag, and of an index that lists it.
        case undeletedTag, undeletedIndex
        case hold

        /// Lets it stand still with all the locks that it needs.
        fileprivate func stop(_ scene: Scene) async throws {
            switch self {
            case .tag, .undeletedTag: try await scene.hold("tag")
            case .hold: try await scene.hold("retention_hold")
            case .push, .head, .index, .undeletedIndex: try await scene.holdNextHint()
            }
        }

        fileprivate func act(_ scene: Scene) async throws {
            let (image, store, repository) = (try scene.image("layer", []), scene.store, scene.repository)
            switch self {
            case .tag: try await scene.push(image, "v2")
            case .push: try await scene.push(image, nil)
            case .head: _ = try await store.manifest(.digest(image.digest), in: repository, promising: true)
            case .index: try await scene.push(try scene.index([image, image]), nil)
            case .undeletedTag: _ = try await store.restore(.tag(Tag(parsing: "v1")), in: repository)
            case .undeletedIndex:
                _ = try await store.restore(.digest(scene.index([image]).digest), in: repository)
            case .hold:
                let hold = RetentionHold(kind: .legal, subject: .digest(image.digest), reason: "case 7")
                _ = try await store.setHold(hold, in: repository)
            }
        }

        /// Takes the reference away that it made.
        fileprivate func undo(_ scene: Scene) async throws {
            switch self {
            case .tag: try await scene.store.deleteTag(try Tag(parsing: "v2"), in: scene.repository)
            case .undeletedTag: try await scene.store.deleteTag(try Tag(parsing: "v1"), in: scene.repository)
            case .hold:
                for hold in try await scene.store.holds(in: scene.repository, after: 0, limit: 10) {
                    try await scene.store.releaseHold(hold.id, in: scene.repository)
                }
            case .push, .head, .index, .undeletedIndex: break  // the rule takes these
            }
        }

        /// What it is told where the collector was quicker; nil if the manifest is stored anew.
        fileprivate var refusal: RegistryError.Code? {
            switch self {
            case .tag, .push, .undeletedTag, .undeletedIndex: nil
            case .head, .hold: .manifestUnknown
            case .index: .manifestBlobUnknown
            }
        }

        /// Whether it names the manifest for as long as it is not undone, and not for a time alone.
        fileprivate var names: Bool { [.tag, .undeletedTag, .hold].contains(self) }
    }

    /// An image without a name that a collector may remove at once. It had a tag, and an index listed it.
    private func scene(_ collector: Collector) async throws -> Scene {
        let scene = try await Scene()
        try await scene.upload(["layer"])
        let index = try scene.index([try scene.image("layer", [])])
        try await scene.push(try scene.image("layer", []), "v1")
        try await scene.push(index, nil)
        let policy = try RetentionPolicy(decoding: #"{"version":1,"rules":[{"delete":"untagged","days":1}]}"#.utf8)
        _ = try await scene.store.setPolicy(policy, of: .registry)
        try await scene.store.deleteTag(try Tag(parsing: "v1"), in: scene.repository)
        switch collector {
        case .released: try await scene.store.deleteManifest(index.digest, in: scene.repository)
        case .condemned:
            try await scene.endPromises()
            #expect(try await scene.otherNode.collectReleasedManifests(limit: 10).removed == 1)
        }
        try await scene.endPromises()
        #expect(try await scene.store.counts().manifests == 1)
        return scene
    }

    private func isThere(_ scene: Scene) async throws -> Bool {
        let image = Reference.digest(try scene.image("layer", []).digest)
        return try await scene.refusal {
            _ = try await scene.store.manifest(image, in: scene.repository, promising: false)
        } == nil
    }

    /// Nothing is needed that is gone, and nothing stays for ever.
    private func expectNeeded(_ writer: Writer, _ scene: Scene) async throws {
        try await scene.collect()
        #expect(try await isThere(scene))
        if writer.names {
            try await scene.collectToTheEnd()
            #expect(try await isThere(scene))
        }
        #expect(try await scene.store.violations() == [])
        try await writer.undo(scene)
        try await expectToGo(scene)
    }

    private func expectToGo(_ scene: Scene) async throws {
        try await scene.collectToTheEnd()
        #expect(try await scene.store.counts() == (0, 0))
        #expect(try await scene.store.violations() == [])
    }

    @Test(
        "pass over what somebody is about to need, without waiting, and look again",
        arguments: Collector.allCases,
        Writer.allCases
    )
    func passOver(_ collector: Collector, _ writer: Writer) async throws {
        let scene = try await scene(collector)
        try await writer.stop(scene)
        async let writing: Void = writer.act(scene)
        try await scene.observer.waitUntilBlocked(count: 1)
        let collected = try await collector.collect(scene)
        #expect(collected.hints > 0 && collected.removed == 0)
        let later = "SELECT count(*) FROM gc_hint WHERE kind = \(collector.rawValue) AND due_at > 0"
        #expect(try await scene.observer.run(later) == "1")
        try await scene.letGo(by: "ROLLBACK")
        try await writing
        try await expectNeeded(writer, scene)
        #expect(scene.retried.count == 0)
    }

    @Test(
        "ask who needs it after they have locked it, be it right after that was committed",
        arguments: Collector.allCases,
        Writer.allCases
    )
    func askLater(_ collector: Collector, _ writer: Writer) async throws {
        let scene = try await scene(collector)
        try await writer.stop(scene)
        async let writing: Void = writer.act(scene)
        try await scene.observer.waitUntilBlocked(count: 1)
        // Behind the writer in the queue for the table, and before the collector's lock; who only asks does not queue.
        async let gate = scene.bystander.run("BEGIN; LOCK TABLE manifest IN EXCLUSIVE MODE; COMMIT")
        try await scene.observer.waitUntilBlocked(count: 2)
        async let collected = collector.collect(scene)
        try await scene.observer.waitUntilBlocked(count: 3)
        try await scene.letGo(by: "ROLLBACK")
        try await writing
        #expect(try await gate == "COMMIT")
        #expect(try await collected.removed == 0)
        try await expectNeeded(writer, scene)
        #expect(scene.retried.count == 0)
    }

    /// The table at which a collector stands still: before it asks, or after it has deleted.
    static let stops: [(table: String, collector: Collector)] = [
        ("manifest_child", .released), ("pull_stat", .released), ("manifest_child", .condemned),
    ]

    @Test(
        "keep those waiting who come later, who then find it gone and are told so or store it anew",
        arguments: stops,
        Writer.allCases
    )
    func comeFirst(_ stop: (table: String, collector: Collector), _ writer: Writer) async throws {
        let scene = try await scene(stop.collector)
        try await scene.hold(stop.table)
        let (collected, refusal) = try await scene.inTurn {
            try await stop.collector.collect(scene)
        } then: {
            try await scene.refusal { try await writer.act(scene) }
        }
        #expect(collected.removed == 1)
        #expect(refusal == writer.refusal)
        #expect(try await scene.store.violations() == [])
        #expect(try await isThere(scene) == (refusal == nil))
        if refusal == nil { try await expectNeeded(writer, scene) } else { try await expectToGo(scene) }
        // Who found the manifest and then lost it begins anew.
        #expect(scene.retried.count <= 1)
    }

    @Test("leave hints alone that another collector works off", arguments: Collector.allCases)
    func twoCollectors(_ collector: Collector) async throws {
        let scene = try await scene(collector)
        try await scene.hold("pull_stat")
        async let first = collector.collect(scene)
        try await scene.observer.waitUntilBlocked(count: 1)
        #expect(try await collector.collect(scene) == Collected())
        try await scene.letGo()
        #expect(try await first.removed == 1)
        try await expectToGo(scene)
    }
}
