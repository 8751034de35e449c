import Metadata
import OCI
import SQLStore
import Testing

/// What a deleter does after a failover, of which it knows by the server's line of history: the one that it wrote down is then
/// another one than that which the server has. `test_failover.py` promotes a standby.
@Suite("Deleters of objects after a failover", .enabled(if: Engine.server != nil))
struct FailoverTests {
    private typealias Scene = QueryLockTests.Scene

    /// An object whose time in the trash is over, and a deleter that has been at work before.
    private func scene() async throws -> Scene {
        let scene = try await Scene()
        #expect(try await scene.store.claimTrash(limit: 10) == [])
        try await scene.store.registerKeys([Array(repeating: 1, count: 16)])
        try await scene.observer.run("UPDATE object_trash SET delete_after = 0")
        return scene
    }

    private func failOver(_ scene: Scene) async throws {
        #expect(try await scene.observer.run("UPDATE server_epoch SET epoch = '00000000'") == "UPDATE 1")
    }

    private func letPass(milliseconds: Int, _ scene: Scene) async throws {
        #expect(try await scene.observer.run("UPDATE server_epoch SET since = since - \(milliseconds)") == "UPDATE 1")
    }

    @Test("pause for ten minutes, all of them, from when the first one notices, and then go on")
    func pause() async throws {
        let scene = try await scene()
        try await failOver(scene)
        for deleter in [scene.store, scene.otherNode] { #expect(try await deleter.claimTrash(limit: 10) == []) }
        try await letPass(milliseconds: 9 * 60_000, scene)
        #expect(try await scene.otherNode.claimTrash(limit: 10) == [])
        #expect(try await scene.observer.run("SELECT count(*) FROM object_trash WHERE claimed_until IS NULL") == "1")
        try await letPass(milliseconds: 60_000, scene)
        let objects = try await scene.otherNode.claimTrash(limit: 10)
        #expect(objects.count == 1)
        #expect(try await scene.otherNode.confirm(objects) == objects)
    }

    @Test("do not delete what they had claimed before it, also not those that notice later")
    func claimedBefore() async throws {
        let scene = try await scene()
        let objects = try await scene.store.claimTrash(limit: 10)
        #expect(objects.count == 1)
        #expect(try await scene.store.confirm(objects) == objects)
        try await failOver(scene)
        #expect(try await scene.otherNode.claimTrash(limit: 10) == [])
        #expect(try await scene.store.confirm(objects) == [])
        // By the time that they may go on, such claims have ended.
        try await letPass(milliseconds: 10 * 60_000, scene)
        try await scene.observer.run("UPDATE object_trash SET claimed_until = claimed_until - 600000")
        #expect(try await scene.store.confirm(objects) == [])
        #expect(try await scene.otherNode.claimTrash(limit: 10).count == 1)
    }

    @Test("notice it when they are about to delete, and pause each time that there is another failover")
    func again() async throws {
        let scene = try await scene()
        let objects = try await scene.store.claimTrash(limit: 10)
        try await failOver(scene)
        #expect(try await scene.store.confirm(objects) == [])
        try await scene.store.registerKeys([Array(repeating: 2, count: 16)])
        try await scene.observer.run("UPDATE object_trash SET delete_after = 0")
        #expect(try await scene.store.claimTrash(limit: 10) == [])
        try await letPass(milliseconds: 10 * 60_000, scene)
        try await failOver(scene)
        #expect(try await scene.store.claimTrash(limit: 10) == [])
        try await letPass(milliseconds: 10 * 60_000, scene)
        #expect(try await scene.store.claimTrash(limit: 10).map(\.key) == [Array(repeating: 2, count: 16)])
    }
}
