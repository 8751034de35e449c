@testable import BlobStorage
import NIOCore
import OCI

/// Writes a file in place.
// Unchecked: all tasks of a run share the one thread of its scheduler.
final class FileWriter: BlobWriter, @unchecked Sendable {
    private let store: SimulatedStore
    private let key: StorageKey
    private let start: Int64
    private var offset: Int64

    init(_ store: SimulatedStore, _ key: StorageKey, from start: Int64) {
        (self.store, self.key, self.start, offset) = (store, key, start, start)
    }

    func append(_ chunks: [ByteBuffer], hashing digester: Digester) async throws -> Digester {
        var digester = digester
        var added: [UInt8] = []
        for chunk in chunks { added += chunk.readableBytesView }
        let (key, before, bytes) = (key, Int(offset), added)
        let objects = store.objects
        try await store.request("write", key) {
            // A deleted file takes what is written to it with it.
            guard let content = objects.objects[key] else { return }
            try objects.put(Array(content.prefix(before)) + bytes, to: key)
        }
        added.withUnsafeBytes { digester.update($0) }
        offset += Int64(added.count)
        return digester
    }

    func takeCheckpoint() async -> Checkpoint? { nil }

    func suspend() async throws -> ObjectProgress {
        try await store.request("sync", key) {}
        return ObjectProgress(key: key, offset: offset)
    }

    func finish() async throws -> FinishedObject {
        try await store.request("sync", key) {}
        return FinishedObject(key: key)
    }

    func abandon() async -> [ObjectProgress] { start == 0 ? [ObjectProgress(key: key, offset: 0)] : [] }
}

/// Sends parts, and what ends a request but not the object to a key of its own: as the writer to S3 does.
// Unchecked: all tasks of a run share the one thread of its scheduler.
final class PartsWriter: BlobWriter, @unchecked Sendable {
    private let store: SimulatedStore
    private let keys: KeySource
    private var offset: Int64 = 0
    private var upload: StorageKey?
    private var sizes: [Int] = []
    private var tail: (key: StorageKey, size: Int)?
    private var filling: [UInt8] = []
    private var ownKeys: [StorageKey] = []
    private var ownsUpload = false
    /// The key of an upload that began here. It waits for as long as the client takes.
    private var taken: StorageKey?
    private var checkpoint: Checkpoint?

    init(_ store: SimulatedStore, _ key: StorageKey, _ keys: @escaping KeySource) {
        (self.store, self.keys, taken) = (store, keys, key)
    }

    init(_ store: SimulatedStore, continuing progress: ObjectProgress, _ keys: @escaping KeySource) throws {
        (self.store, self.keys, offset) = (store, keys, progress.offset)
        let notes = progress.state.map { Int($0) * 500 }
        guard let tailSize = notes.first else {
            tail = (progress.key, Int(progress.offset))
            return
        }
        upload = progress.key
        sizes = Array(notes.dropFirst())
        if let key = progress.tail { tail = (key, Int(progress.offset) - sizes.reduce(0, +)) }
        precondition(tailSize == 0, "the first note says that there are parts")
    }

    func append(_ chunks: [ByteBuffer], hashing digester: Digester) async throws -> Digester {
        var digester = digester
        try await readBack()
        for chunk in chunks {
            var rest = Array(chunk.readableBytesView)[...]
            while !rest.isEmpty {
                if filling.count >= store.objects.partSize { try await send(digester) }
                let piece = rest.prefix(max(1, store.objects.partSize - filling.count))
                Array(piece).withUnsafeBytes { digester.update($0) }
                filling += piece
                rest = rest.dropFirst(piece.count)
                offset += Int64(piece.count)
            }
        }
        return digester
    }

    private func readBack() async throws {
        guard let old = tail else { return }
        let objects = store.objects
        let found = try await store.request("get", old.key) { objects.objects[old.key] }
        guard let found, found.count == old.size else { throw BlobStorageError.missing(old.key) }
        filling = found
        tail = nil
    }

    private func newKey() async throws -> StorageKey {
        let key: StorageKey
        if let taken { key = taken } else { key = try await keys() }
        taken = nil
        ownKeys.append(key)
        return key
    }

    private func send(_ digester: Digester?) async throws {
        let objects = store.objects
        if upload == nil {
            let key = try await newKey()
            try await store.request("start upload", key) { try objects.startUpload(of: key) }
            (upload, ownsUpload) = (key, true)
        }
        guard let upload else { return }
        let (number, bytes) = (sizes.count, filling)
        try await store.request("put part", upload) { try objects.putPart(number, bytes, of: upload) }
        sizes.append(bytes.count)
        filling = []
        if let digester {
            let progress = ObjectProgress(key: upload, offset: offset, state: notes)
            checkpoint = Checkpoint(progress: progress, hashState: digester.state)
        }
    }

    /// Sizes of parts in units of 500 bytes, after a zero.
    private var notes: [UInt8] { [0] + sizes.map { UInt8($0 / 500) } }

    func takeCheckpoint() async -> Checkpoint? {
        defer { checkpoint = nil }
        return checkpoint
    }

    func suspend() async throws -> ObjectProgress {
        if !filling.isEmpty {
            let (key, bytes, objects) = (try await newKey(), filling, store.objects)
            try await store.request("put", key) { try objects.put(bytes, to: key) }
            tail = (key, bytes.count)
            filling = []
        }
        if let upload { return ObjectProgress(key: upload, tail: tail?.key, offset: offset, state: notes) }
        guard let tail else { throw BlobStorageError.refused("an object without bytes cannot be suspended") }
        return ObjectProgress(key: tail.key, offset: offset)
    }

    func finish() async throws -> FinishedObject {
        let objects = store.objects
        guard let upload else {
            if let tail { return FinishedObject(key: tail.key) }
            let (key, bytes) = (try await newKey(), filling)
            try await store.request("put", key) { try objects.put(bytes, to: key) }
            return FinishedObject(key: key)
        }
        try await readBack()
        if !filling.isEmpty { try await send(nil) }
        let (count, size) = (sizes.count, offset)
        try await store.request("complete", upload) { try objects.complete(upload, parts: count, size: size) }
        return FinishedObject(key: upload)
    }

    func abandon() async -> [ObjectProgress] {
        ownKeys.map { ObjectProgress(key: $0, offset: 0, state: ownsUpload && $0 == upload ? [0] : []) }
    }
}
