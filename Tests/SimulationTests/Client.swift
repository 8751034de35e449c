import Access
import BlobStorage
@testable import Metadata
import NIOCore
import OCI
import RegistryCore
@testable import SQLStore

/// Somebody who uses the registry, at any node, and tells the witness what they were told.
// Unchecked: all tasks of a run share the one thread of its scheduler.
struct Client: @unchecked Sendable {
    let world: World
    let content: Content

    var scheduler: Scheduler { world.scheduler }
    var witness: Witness { world.witness }
    private var window: Int64 { world.plan.promises.window }

    enum Outcome<Value> {
        case done(Value)
        /// Nothing was changed.
        case refused(RegistryError)
        /// The answer was lost, or the server said that it does not know.
        case unknown
    }

    func run() async {
        for _ in 0..<world.plan.deeds {
            do {
                try await scheduler.turn(after: thinking() * world.plan.patience)
                try await act()
            } catch is Scheduler.Halted {
                return
            } catch {
                witness.complain("a client failed: \(error)")
                return
            }
        }
    }

    /// Mostly moments, sometimes longer than promises last.
    private func thinking() -> Int64 {
        let minute: Int64 = 60_000
        switch scheduler.chance.index(100) {
        case ..<40: return scheduler.chance.upTo(1000)
        case ..<60: return scheduler.chance.upTo(20 * minute)
        case ..<80: return scheduler.chance.upTo(3 * 60 * minute)
        case ..<93: return (5 * 60 + scheduler.chance.upTo(180)) * minute
        case ..<98: return (11 * 60 + scheduler.chance.upTo(240)) * minute
        default: return (23 * 60 + scheduler.chance.upTo(180)) * minute
        }
    }

    private func act() async throws {
        let repository = scheduler.chance.pick(Content.repositories)
        let tag = scheduler.chance.pick(world.plan.tags)
        let image = scheduler.chance.index(content.images.count)
        if world.plan.deletesTags, scheduler.chance.hits(400) { return try await govern(repository, tag, image) }
        switch scheduler.chance.index(100) {
        case ..<40: _ = try await push(image, to: repository, as: scheduler.chance.hits(750) ? tag : nil)
        case ..<52: try await pull(tag, from: repository)
        case ..<55: try await read(scheduler.chance.index(content.blobs.count), from: repository, isListed: false)
        case ..<60: _ = try await upload(scheduler.chance.index(content.blobs.count), to: repository)
        case ..<68: _ = try await head(image, in: repository)
        case ..<78: try await delete(tag, in: repository)
        case ..<84: try await delete(image, in: repository)
        case ..<90: try await restore(tag, in: repository)
        case ..<93: try await restore(image, in: repository)
        case ..<96 where world.plan.deletesBlobs:
            try await delete(blob: scheduler.chance.index(content.blobs.count), in: repository)
        case ..<98 where world.plan.deletesRepositories: try await delete(repository)
        case ..<100 where world.plan.deletesRepositories: try await restore(repository)
        default: _ = try await push(image, to: repository, as: tag)
        }
    }

    /// Asks some node for something.
    func attempt<Value>(_ name: @autoclosure () -> String, _ body: (Node) async throws -> Value) async throws
        -> Outcome<Value>
    {
        let node = scheduler.chance.pick(world.nodes)
        let text = name()
        world.log("client: \(text)")
        do {
            let value = try await body(node)
            guard node.process.isAlive, !scheduler.isHalted else { return .unknown }
            world.log("client: \(text): done")
            return .done(value)
        } catch let error as RegistryError {
            guard node.process.isAlive, error.code != .unavailable else { return .unknown }
            world.log("client: \(text): \(error.code.rawValue)")
            if [.manifestInvalid, .sizeInvalid, .internalError, .nameInvalid].contains(error.code) {
                witness.complain("\(text): \(error)")
            }
            return .refused(error)
        } catch let error as SQLError {
            if case .failed = error { witness.complain("\(text): \(error)") }
            return .unknown
        } catch is Scheduler.Halted {
            throw Scheduler.Halted()
        } catch let error as ChunkOutOfOrder {
            world.log("client: \(text): stands at \(error.received)")
            return .unknown
        } catch {
            world.log("client: \(text): \(error)")
            return .unknown
        }
    }

    func grant<Action: RepositoryAction>(_ action: Action.Type, _ repository: RepositoryName) async throws
        -> Grant<Action>
    {
        try await Authorizer().grant(action, on: repository, to: .anonymous)
    }

    // MARK: - Promises

    func promise(blob: Int, in repository: RepositoryName, since moment: Witness.Moment) throws {
        let thing = Witness.Thing(kind: .blob, repository: repository, digest: content.blobs[blob].digest)
        try witness.promise(thing, since: moment, for: window)
    }

    /// With all that belongs to it.
    func promise(image: Int, in repository: RepositoryName, since moment: Witness.Moment) throws {
        let manifest = content.images[image].manifest
        let thing = Witness.Thing(kind: .manifest, repository: repository, digest: manifest.digest)
        try witness.promise(thing, since: moment, for: window)
        for blob in content.images[image].blobs { try promise(blob: blob, in: repository, since: moment) }
    }

    // MARK: - Reading

    /// Asks whether an image is there.
    func head(_ image: Int, in repository: RepositoryName) async throws -> Bool {
        let moment = witness.moment()
        let digest = content.images[image].manifest.digest
        let outcome = try await attempt("HEAD image \(image)") { node in
            try await node.registry.manifest(.digest(digest), promising: true, with: grant(Pull.self, repository))
        }
        guard case .done(let stored) = outcome else { return false }
        guard stored.digest == digest, stored.bytes == content.images[image].manifest.bytes else {
            witness.complain("a manifest has other bytes than were pushed")
            return false
        }
        try promise(image: image, in: repository, since: moment)
        return true
    }

    func headBlob(_ blob: Int, in repository: RepositoryName) async throws -> Bool {
        let moment = witness.moment()
        let outcome = try await attempt("HEAD blob \(blob)") { node in
            try await node.registry.blobSize(content.blobs[blob].digest, with: grant(Pull.self, repository))
        }
        guard case .done = outcome else { return false }
        try promise(blob: blob, in: repository, since: moment)
        return true
    }

    /// Reads an image with all that belongs to it, slowly.
    func pull(_ tag: Tag, from repository: RepositoryName) async throws {
        let moment = witness.moment()
        let outcome = try await attempt("GET \(repository):\(tag)") { node in
            try await node.registry.manifest(.tag(tag), promising: false, with: grant(Pull.self, repository))
        }
        guard case .done(let stored) = outcome else { return }
        guard let image = content.images.firstIndex(where: { $0.manifest.digest == stored.digest }) else {
            return witness.complain("a tag names what nobody pushed")
        }
        try promise(image: image, in: repository, since: moment)
        if world.plan.deletesTags {
            try await count(scheduler.chance.hits(500) ? .tag(tag) : .digest(stored.digest), repository)
        }
        for child in content.images[image].children {
            let digest = content.images[child].manifest.digest
            let answer = try await attempt("GET image \(child)") { node in
                try await node.registry.manifest(.digest(digest), promising: false, with: grant(Pull.self, repository))
            }
            if case .refused(let error) = answer {
                let thing = Witness.Thing(kind: .manifest, repository: repository, digest: digest)
                if !witness.wasReleased(thing) { witness.complain("a listed manifest cannot be read: \(error)") }
            }
            guard case .done = answer else { continue }
            for blob in content.images[child].blobs { try await read(blob, from: repository) }
        }
        for blob in content.images[image].blobs { try await read(blob, from: repository) }
    }

    /// - Parameter isListed: whether it belongs to a manifest that was read a moment ago.
    func read(_ blob: Int, from repository: RepositoryName, isListed: Bool = true) async throws {
        let expected = content.blobs[blob]
        let thing = Witness.Thing(kind: .blob, repository: repository, digest: expected.digest)
        let outcome = try await attempt("GET blob \(blob)") { node -> [UInt8]? in
            let found = try await node.registry.blob(
                expected.digest,
                reachesStore: false,
                with: grant(Pull.self, repository)
            )
            switch found.content {
            case .bytes(let bytes): return bytes
            case .elsewhere: return nil
            case .object(let object):
                // As long as a location may be known and a download may last.
                if scheduler.chance.hits(isListed ? 100 : 600) {
                    try await scheduler.turn(after: scheduler.chance.upTo(80 * 60_000))
                }
                let reader = object.reader(0..<found.size)
                var bytes: [UInt8] = []
                do {
                    while let piece = try await reader.next() { bytes += piece.readableBytesView }
                } catch BlobStorageError.missing {
                    witness.complain("an object is gone while it is read")
                }
                return bytes
            }
        }
        switch outcome {
        case .done(let bytes):
            if bytes != expected.bytes { witness.complain("a blob has other bytes than were pushed") }
        case .refused(let error):
            if isListed, !witness.wasReleased(thing) { witness.complain("a listed blob cannot be read: \(error)") }
        case .unknown: break
        }
    }
}
