@testable import BlobStorage
import NIOCore
import OCI
import SQLStore

/// What is in the object store, whoever put it there.
// Unchecked: all tasks of a run share the one thread of its scheduler.
final class SimulatedObjects: @unchecked Sendable {
    /// Which of the two stores it behaves like.
    enum Kind {
        /// Files on a disk: written in place, an object that is open stays readable, deletions are for good.
        case files
        /// Objects behind a network: a request may arrive late, or twice.
        case network
    }

    let kind: Kind
    /// Bytes of a part of an upload over a network.
    var partSize = 16_500
    /// How long a process stands still before it sends the next request of a name.
    var standstills: [String: Int64] = [:]
    private let sql: SimulatedSQLite
    private(set) var objects: [StorageKey: [UInt8]] = [:]
    /// Uploads in parts, by key.
    private(set) var parts: [StorageKey: [Int: [UInt8]]] = [:]

    /// Whether a key is as old as it is kept without a name. Only then its object may be written when no row knows it.
    var isOld: (StorageKey) -> Bool = { _ in false }
    private let hasChanged: () -> Void

    init(_ kind: Kind, _ sql: SimulatedSQLite, hasChanged: @escaping () -> Void) {
        (self.kind, self.sql, self.hasChanged) = (kind, sql, hasChanged)
    }

    func put(_ bytes: [UInt8], to key: StorageKey) throws {
        objects[key] = bytes
        try note(key)
    }

    func startUpload(of key: StorageKey) throws {
        // A second upload that a repeated request begins is ended by the bucket's own rules, as docs/object-stores.md asks.
        guard objects[key] == nil else { return }
        parts[key] = parts[key] ?? [:]
        try note(key)
    }

    func putPart(_ number: Int, _ bytes: [UInt8], of key: StorageKey) throws {
        guard parts[key] != nil else { throw BlobStorageError.missing(key) }
        parts[key]?[number] = bytes
    }

    func complete(_ key: StorageKey, parts count: Int, size: Int64) throws {
        if let list = parts[key], list.count >= count {
            var whole: [UInt8] = []
            for number in 0..<count { whole += list[number] ?? [] }
            objects[key] = whole
            parts[key] = nil
            try note(key)
        }
        // An earlier try whose answer was lost may have done it.
        guard let found = objects[key], found.count == Int(size) else { throw BlobStorageError.missing(key) }
    }

    func abort(_ key: StorageKey) throws {
        parts[key] = nil
        try note(key)
    }

    func delete(_ key: StorageKey) throws {
        objects[key] = nil
        try note(key)
    }

    /// Tells the witness's tables of an object.
    private func note(_ key: StorageKey) throws {
        hasChanged()
        let size = objects[key].map { Int64($0.count) } ?? (parts[key] == nil ? nil : -1)
        guard let size else {
            try sql.rows("DELETE FROM witness.object WHERE skey = \(key.bytes)", now: 0)
            return
        }
        try sql.rows(
            """
            INSERT INTO witness.object (skey, size, is_late) SELECT \(key.bytes), \(size), \(isOld(key) ? 1 : 0 as Int64)
                AND NOT EXISTS (SELECT 1 FROM object_trash WHERE skey = \(key.bytes))
                AND NOT EXISTS (SELECT 1 FROM blob_copy WHERE skey = \(key.bytes))
            WHERE true ON CONFLICT (skey) DO UPDATE SET size = excluded.size
            """,
            now: 0
        )
    }
}

/// The object store as one process reaches it.
struct SimulatedStore: BlobStore {
    let process: SimulatedProcess
    let objects: SimulatedObjects

    var preferredChunk: Int { 1 }
    var deletesForGood: Bool { objects.kind == .files }

    /// A request: it may fail with or without having happened, arrive late or twice, and the process may end around it.
    func request<Result>(_ name: String, _ key: StorageKey, _ effect: @escaping () throws -> Result) async throws
        -> Result
    {
        if let wait = objects.standstills.removeValue(forKey: name) { _ = try await process.step(name, after: wait) }
        let world = try await process.step("\(name) \(key.description.prefix(6))")
        switch world.faults.ofRequest() {
        case .none: return try effect()
        case .fails: throw BlobStorageError.unavailable("simulated")
        case .isFull: throw BlobStorageError.full
        case .crashesBefore: throw world.crash(process)
        case .crashesAfter:
            _ = try effect()
            throw world.crash(process)
        case .answerIsLost:
            _ = try effect()
            throw BlobStorageError.unavailable("simulated")
        case .isSlow(let delay):
            _ = try await process.step(name, after: delay)
            return try effect()
        case .arrivesLate(let delay) where objects.kind == .network:
            world.later(after: delay) { _ = try? effect() }
            throw BlobStorageError.unavailable("simulated")
        case .arrivesTwice(let delay) where objects.kind == .network:
            world.later(after: delay) { _ = try? effect() }
            return try effect()
        case .arrivesLate, .arrivesTwice: return try effect()
        }
    }

    func makeWriter(expecting length: ObjectLength?, _ keys: @escaping KeySource) async throws -> any BlobWriter {
        let key = try await keys()
        guard objects.kind == .files else { return PartsWriter(self, key, keys) }
        try await request("create", key) { try objects.put([], to: key) }
        return FileWriter(self, key, from: 0)
    }

    func makeWriter(
        continuing progress: ObjectProgress,
        expecting length: ObjectLength?,
        _ keys: @escaping KeySource
    ) async throws -> any BlobWriter {
        guard objects.kind == .files else { return try PartsWriter(self, continuing: progress, keys) }
        try await request("open", progress.key) {
            guard let found = objects.objects[progress.key], found.count >= Int(progress.offset) else {
                throw BlobStorageError.missing(progress.key)
            }
            try objects.put(Array(found.prefix(Int(progress.offset))), to: progress.key)
        }
        return FileWriter(self, progress.key, from: progress.offset)
    }

    func open(_ key: StorageKey, size: Int64) async throws -> StoredObject {
        var content: [UInt8]?
        if objects.kind == .files {
            content = try await request("open", key) { objects.objects[key] }
            guard content?.count == Int(size) else { throw BlobStorageError.missing(key) }
        }
        return .remote(
            RemoteObject(key: key, size: size) { [self, content] in
                SimulatedReader(store: self, key: key, size: size, rest: $0, content: content)
            }
        )
    }

    func size(of key: StorageKey) async throws -> Int64? {
        try await request("head", key) { objects.objects[key].map { Int64($0.count) } }
    }

    func delete(_ key: StorageKey) async throws {
        try await request("delete", key) { try objects.delete(key) }
        let world = process.world
        guard world.bug?.usesKeysAgain == true else { return }
        world.noteUsed(key.bytes)
        world.later(after: world.scheduler.chance.upTo(Faults.longestDelay)) { try? objects.delete(key) }
    }

    func purge(_ key: StorageKey) async throws {
        if objects.parts[key] != nil { try await request("abort", key) { try objects.abort(key) } }
        try await delete(key)
    }

    func discard(_ progress: ObjectProgress) async throws {
        if !progress.state.isEmpty { try await request("abort", progress.key) { try objects.abort(progress.key) } }
        if let tail = progress.tail { try await delete(tail) }
        try await delete(progress.key)
    }

    func forEachObject(_ body: @escaping @Sendable (ListedObject) async throws -> Void) async throws {
        for (key, bytes) in objects.objects.sorted(by: { $0.key.description < $1.key.description }) {
            try await body(ListedObject(key: key, size: Int64(bytes.count), modifiedAt: 0))
        }
    }

    func checkHealth() async throws {}
    func close() async throws {}
}

/// Reads an object in pieces, as slowly as a client takes them.
private final class SimulatedReader: ObjectReader {
    private let store: SimulatedStore
    private let key: StorageKey
    private let size: Int64
    private var rest: Range<Int64>
    /// The bytes of a file that is open, whatever becomes of its name.
    private let content: [UInt8]?

    private static let piece: Int64 = 12_000

    init(store: SimulatedStore, key: StorageKey, size: Int64, rest: Range<Int64>, content: [UInt8]?) {
        (self.store, self.key, self.size, self.rest, self.content) = (store, key, size, rest, content)
    }

    func next() async throws -> ByteBuffer? {
        guard !rest.isEmpty else { return nil }
        let found = try await store.request("get", key) { [self] in content ?? store.objects.objects[key] }
        guard let found, found.count == Int(size) else { throw BlobStorageError.missing(key) }
        let end = min(rest.upperBound, rest.lowerBound + Self.piece)
        let piece = ByteBuffer(bytes: found[Int(rest.lowerBound)..<Int(end)])
        rest = end..<rest.upperBound
        return piece
    }
}
