import Metadata
import OCI
import SQLStore
import Testing

private typealias Scene = QueryLockTests.Scene
private let layer = Digest(hashing: Array("layer".utf8))

/// The collectors of links and of blobs on PostgreSQL, beside those who need what they are about to remove: one of the two
/// stands still in the middle of its transaction while the other one comes.
@Suite("Collectors of links and blobs on PostgreSQL", .serialized, .enabled(if: Engine.server != nil))
struct CollectorLockTests {
    enum Level: CaseIterable, Sendable {
        case links, blobs

        var table: String { self == .links ? "repo_blob" : "blob" }

        fileprivate func collect(_ scene: Scene) async throws -> Collected {
            switch self {
            case .links: try await scene.otherNode.collectLinks(limit: 10)
            case .blobs: try await scene.otherNode.collectBlobs(limit: 10)
            }
        }
    }

    /// Who needs a blob to which nothing refers any more.
    enum Writer: CaseIterable, Sendable {
        /// The push of a manifest that lists it, which has found the blob.
        case push
        /// The same, which has written down that the manifest lists it.
        case pushWithEdge
        /// A HEAD that promises it.
        case head
        /// An upload of the same bytes.
        case upload
        /// A mount from another repository.
        case mount
        /// A mount into another repository.
        case source
        /// An undelete of a manifest that lists it.
        case undelete

        /// Where the blob is needed.
        fileprivate func repository(_ scene: Scene) throws -> RepositoryName {
            self == .source ? try RepositoryName(parsing: "team/other") : scene.repository
        }

        /// Lets it stand still with all the locks that it needs.
        fileprivate func stop(_ scene: Scene) async throws {
            if self == .push { try await scene.hold("manifest") } else { try await scene.holdNextHint() }
        }

        fileprivate func act(_ scene: Scene) async throws {
            let (store, other) = (scene.store, try RepositoryName(parsing: "team/other"))
            switch self {
            case .push, .pushWithEdge: try await scene.push(try scene.image("layer", []), nil)
            case .head: _ = try await store.blob(layer, in: scene.repository, promising: true)
            case .upload: try await scene.upload("layer", key: 2, to: scene.repository)
            case .mount: try await mount(from: other, to: scene.repository, store)
            case .source: try await mount(from: scene.repository, to: other, store)
            case .undelete:
                _ = try await store.restore(.digest(scene.image("layer", []).digest), in: scene.repository)
            }
        }

        private func mount(from source: RepositoryName, to target: RepositoryName, _ store: MetadataStore) async throws
        {
            guard try await store.mount(layer, from: source, to: target) else {
                throw RegistryError(.blobUnknown, "The source does not hold it.")
            }
        }

        /// What it is told where the collector was quicker; nil if the blob or its link is made anew.
        fileprivate func refusal(_ level: Level) -> RegistryError.Code? {
            switch (self, level) {
            case (.push, _), (.pushWithEdge, _), (.undelete, .blobs): .manifestBlobUnknown
            case (.head, _), (.source, _): .blobUnknown
            case (.upload, _), (.mount, _), (.undelete, .links): nil
            }
        }

        /// Whether it refers to the blob for longer than it promised.
        fileprivate var leavesManifest: Bool { [.push, .pushWithEdge, .undelete].contains(self) }
    }

    /// A blob that no repository holds is found by an upload and an undelete alone, and by a mount while it comes back.
    static let meetings: [(Level, Writer)] =
        Writer.allCases.map { (.links, $0) } + [.upload, .mount, .undelete].map { (.blobs, $0) }

    /// A blob whose link, or which itself, a collector may remove at once.
    private func scene(_ level: Level, _ writer: Writer) async throws -> Scene {
        let scene = try await Scene()
        try await scene.upload("layer", key: 1, to: scene.repository)
        if writer == .undelete {
            let image = try scene.image("layer", [])
            try await scene.push(image, nil)
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        }
        try await scene.endPromises()
        if level == .blobs {
            #expect(try await Level.links.collect(scene).removed == 1)
            try await scene.endPromises()
        }
        if writer == .mount { try await scene.upload("layer", key: 3, to: RepositoryName(parsing: "team/other")) }
        return scene
    }

    /// Nothing is needed that is gone, and nothing stays for ever.
    private func expectNeeded(_ writer: Writer, _ scene: Scene, key: UInt8 = 1) async throws {
        try await scene.collect()
        let found = try await scene.store.blob(layer, in: writer.repository(scene), promising: false)
        #expect(found.location == .object(Array(repeating: key, count: 16)))
        #expect(try await scene.store.violations() == [])
        if writer.leavesManifest {
            try await scene.endPromises()
            try await scene.collect()
            #expect(try await scene.store.counts().blobs == 1)
            let image = try scene.image("layer", []).digest
            try await scene.store.deleteManifest(image, in: scene.repository)
        }
        try await expectToGo(scene)
    }

    private func expectToGo(_ scene: Scene) async throws {
        try await scene.collectToTheEnd()
        #expect(try await scene.observer.run("SELECT count(*) FROM repo_blob") == "0")
        #expect(try await scene.store.counts().blobs == 0)
        #expect(try await scene.store.violations() == [])
    }

    @Test("pass over what somebody is about to need, without waiting, and look again", arguments: meetings)
    func passOver(_ level: Level, _ writer: Writer) async throws {
        let scene = try await scene(level, writer)
        try await writer.stop(scene)
        async let writing: Void = writer.act(scene)
        try await scene.observer.waitUntilBlocked(count: 1)
        let collected = try await level.collect(scene)
        #expect(collected.hints > 0 && collected.removed == 0)
        #expect(try await scene.store.violations() == [], "a hint says to look again")
        try await scene.letGo(by: "ROLLBACK")
        try await writing
        try await expectNeeded(writer, scene)
        #expect(scene.retried.count == 0)
    }

    @Test("ask who needs it after they have locked it, be it right after that was committed", arguments: meetings)
    func askLater(_ level: Level, _ writer: Writer) async throws {
        let scene = try await scene(level, writer)
        try await writer.stop(scene)
        async let writing: Void = writer.act(scene)
        try await scene.observer.waitUntilBlocked(count: 1)
        // Behind the writer in the queue for the table, and before the collector's lock; who only asks does not queue.
        async let gate = scene.bystander.run("BEGIN; LOCK TABLE \(level.table) IN EXCLUSIVE MODE; COMMIT")
        try await scene.observer.waitUntilBlocked(count: 2)
        async let collected = level.collect(scene)
        try await scene.observer.waitUntilBlocked(count: 3)
        try await scene.letGo(by: "ROLLBACK")
        try await writing
        #expect(try await gate == "COMMIT")
        let (hints, removed) = (try await collected.hints, try await collected.removed)
        // What a mount took a blob from is needed no more.
        #expect(hints > 0 && removed == (writer == .source ? 1 : 0))
        try await expectNeeded(writer, scene)
        #expect(scene.retried.count == 0)
    }

    /// Where a collector stands still: before it asks, and after it has deleted.
    enum Stop: CaseIterable, Sendable {
        case asking, deleted

        fileprivate func hold(_ level: Level, _ scene: Scene) async throws {
            switch (self, level) {
            case (.asking, .links): try await scene.hold("repo_blob")
            case (.asking, .blobs): try await scene.hold(rows: "LOCK TABLE repo_blob IN ACCESS EXCLUSIVE MODE")
            case (.deleted, .links): try await scene.holdNextHint()
            case (.deleted, .blobs): try await scene.hold("blob_inline")
            }
        }
    }

    @Test(
        "keep those waiting who come later, who then find it gone and are told so or make it anew",
        arguments: Stop.allCases,
        meetings.filter { $0.1 != .pushWithEdge && $0 != (Level.blobs, Writer.mount) }
    )
    func comeFirst(_ stop: Stop, _ meeting: (Level, Writer)) async throws {
        let (level, writer) = meeting
        let scene = try await scene(level, writer)
        try await stop.hold(level, scene)
        let (collected, refusal) = try await scene.inTurn(lettingGoBy: "ROLLBACK") {
            try await level.collect(scene)
        } then: {
            try await scene.refusal { try await writer.act(scene) }
        }
        #expect(collected.removed == 1)
        #expect(refusal == writer.refusal(level))
        #expect(try await scene.store.violations() == [])
        if refusal != nil { return try await expectToGo(scene) }
        try await expectNeeded(writer, scene, key: level == .blobs ? 2 : 1)
        // Who found the blob and then lost it begins anew.
        #expect(scene.retried.count == (level == .blobs ? 1 : 0))
    }

    @Test("give the key of a blob to the trash, and not that of the upload that waited for it")
    func keys() async throws {
        let scene = try await scene(.blobs, .upload)
        try await Stop.deleted.hold(.blobs, scene)
        let (_, isNew) = try await scene.inTurn {
            try await scene.otherNode.collectBlobs(limit: 10)
        } then: {
            try await scene.upload("layer", key: 2, to: scene.repository)
        }
        #expect(isNew)
        let trash = "SELECT string_agg(substr(encode(skey, 'hex'), 1, 2), ' ') FROM object_trash"
        #expect(try await scene.observer.run(trash) == "01")
    }

    @Test("keep what is listed, and the deletion of the last manifest that lists it waits and leaves a hint of its own")
    func deletionOfLast() async throws {
        let scene = try await scene(.links, .push)
        let image = try scene.image("layer", [])
        try await scene.push(image, nil)
        try await scene.hold("repo_blob")
        let (collected, _) = try await scene.inTurn {
            try await scene.otherNode.collectLinks(limit: 10)
        } then: {
            try await scene.store.deleteManifest(image.digest, in: scene.repository)
        }
        #expect(collected.hints > 0 && collected.removed == 0)
        #expect(try await scene.store.blob(layer, in: scene.repository, promising: false).size == 5)
        try await expectToGo(scene)
        #expect(scene.retried.count == 0)
    }

    @Test("leave hints alone that another collector works off", arguments: Level.allCases)
    func twoCollectors(_ level: Level) async throws {
        let scene = try await scene(level, .upload)
        try await Stop.deleted.hold(level, scene)
        async let first = level.collect(scene)
        try await scene.observer.waitUntilBlocked(count: 1)
        #expect(try await level.collect(scene) == Collected())
        try await scene.letGo(by: "ROLLBACK")
        #expect(try await first.removed == 1)
        try await expectToGo(scene)
    }
}
