import Logging
import NIOCore
import OCI

/// Gathers an object's bytes and sends them: small ones in one request, larger ones in parts, one of which is on its way
/// while the next one fills, as long as there is memory for both.
///
/// A key gets one content, ever: bytes that end a request but not the object go to a key of their own and are read back
/// when more come, because a late copy of that request must not hit what has been published since.
actor S3Writer: BlobWriter {
    private let store: S3BlobStore
    private let keys: KeySource
    private let plan: PartPlan
    private let length: ObjectLength?
    private var offset: Int64

    /// The upload in parts, once there is one.
    private var upload: (key: StorageKey, id: String)?
    private var parts: [S3UploadState.Part]
    /// Bytes behind the parts that were stored when the object was suspended and have not been read back yet.
    private var tail: (key: StorageKey, size: Int64)?

    private var filling: [ByteBuffer] = []
    private var filled = 0
    private var permit: ByteBudget.Permit?
    private var sending: Sending?
    private var checkpoint: Checkpoint?
    /// What this writer made besides what it went on with.
    private var ownKeys: [StorageKey] = []
    private var ownsUpload = false

    private struct Sending {
        let task: Task<String, any Error>
        let count: Int
        /// The object's bytes up to this part's end, and their hash.
        let offset: Int64
        let hashState: [UInt8]
    }

    init(_ store: S3BlobStore, length: ObjectLength?, _ keys: @escaping KeySource) {
        (self.store, self.keys, self.length) = (store, keys, length)
        plan = PartPlan(length: length, isEqual: store.client.configuration.hasEqualParts)
        parts = []
        offset = 0
    }

    init(
        _ store: S3BlobStore,
        continuing progress: ObjectProgress,
        _ state: S3UploadState,
        length: ObjectLength?,
        _ keys: @escaping KeySource
    ) {
        (self.store, self.keys, self.length) = (store, keys, length)
        plan = PartPlan(
            length: length,
            after: state.parts.count,
            of: state.parts.reduce(0) { $0 + $1.size },
            isEqual: store.client.configuration.hasEqualParts
        )
        parts = state.parts
        offset = progress.offset
        upload = state.upload.map { (progress.key, $0) }
        if upload == nil {
            tail = (progress.key, progress.offset)
        } else if let key = progress.tail {
            tail = (key, state.tail)
        }
    }

    func append(_ chunks: [ByteBuffer], hashing digester: Digester) async throws -> Digester {
        var digester = digester
        for chunk in chunks {
            var rest = chunk
            while rest.readableBytes > 0 {
                try await makeRoom(digester)
                let count = min(rest.readableBytes, limit - filled)
                guard let piece = rest.readSlice(length: count) else { break }
                piece.withUnsafeReadableBytes { digester.update($0) }
                filling.append(piece)
                filled += count
                offset += Int64(count)
            }
        }
        return digester
    }

    /// Bytes of the part that fills.
    private var limit: Int {
        // Bytes that were read back may already be more than a part of this plan.
        max(plan.size(parts.count + (sending == nil ? 1 : 2)), permitted)
    }
    private var permitted = 0

    /// Returns when at least one more byte may be added.
    private func makeRoom(_ digester: Digester) async throws {
        if filled > 0, filled >= limit { try await send(digester) }
        if permit == nil {
            try await takePermit()
            try await readBack()
            if filled >= limit { try await send(digester) }
        }
        if permit == nil { try await takePermit() }
    }

    private func takePermit() async throws {
        let size = plan.size(parts.count + (sending == nil ? 1 : 2))
        let ahead = length.map { Int(max(0, $0.bytes - offset)) + Int(tail?.size ?? 0) } ?? size
        // What is sent only when this part is full must not keep it from filling.
        permitted = max(min(size, max(ahead, 1)), Int(tail?.size ?? 0))
        if sending != nil {
            permit = store.budget.takeSpare(permitted)
            guard permit == nil else { return }
            try await settle()
        }
        permit = await store.budget.take(permitted)
    }

    private func readBack() async throws {
        guard let old = tail else { return }
        filling = try await store.read(old.key, size: Int(old.size))
        filled = Int(old.size)
        tail = nil
    }

    /// Sends the part that is full, when the one before it has arrived.
    private func send(_ digester: Digester?) async throws {
        try await settle()
        let (key, id) = try await multipartUpload()
        let (chunks, count, number, held) = (filling, filled, parts.count + 1, permit)
        // Unstructured: it goes on while the caller gathers the next part; `settle` and `abandon` wait for it.
        let task = Task { [store] in
            defer { withExtendedLifetime(held) {} }
            return try await store.putPart(number, of: id, key, chunks, count: count)
        }
        sending = Sending(task: task, count: count, offset: offset, hashState: digester?.state ?? [])
        (filling, filled, permit, permitted) = ([], 0, nil, 0)
    }

    /// Waits for the part that is on its way.
    private func settle() async throws {
        guard let sent = sending else { return }
        sending = nil
        let tag = try await sent.task.value
        parts.append(S3UploadState.Part(tag: tag, size: Int64(sent.count)))
        guard let upload, !sent.hashState.isEmpty else { return }
        let state = S3UploadState(upload: upload.id, parts: parts, tail: 0)
        let progress = ObjectProgress(key: upload.key, offset: sent.offset, state: state.bytes)
        checkpoint = Checkpoint(progress: progress, hashState: sent.hashState)
    }

    private func multipartUpload() async throws -> (StorageKey, String) {
        if let upload { return upload }
        let key = try await newKey()
        let made = (key, try await store.startUpload(of: key))
        upload = made
        ownsUpload = true
        return made
    }

    private func newKey() async throws -> StorageKey {
        let key = try await keys()
        ownKeys.append(key)
        return key
    }

    func takeCheckpoint() async -> Checkpoint? {
        defer { checkpoint = nil }
        return checkpoint
    }

    func suspend() async throws -> ObjectProgress {
        try await settle()
        if filled > 0 {
            let key = try await newKey()
            try await store.put(filling, count: filled, to: key)
            tail = (key, Int64(filled))
            (filling, filled, permit, permitted) = ([], 0, nil, 0)
        }
        let state = S3UploadState(upload: upload?.id, parts: parts, tail: tail?.size ?? 0)
        if let upload { return ObjectProgress(key: upload.key, tail: tail?.key, offset: offset, state: state.bytes) }
        guard let tail else { throw BlobStorageError.refused("an object without bytes cannot be suspended") }
        return ObjectProgress(key: tail.key, offset: offset, state: state.bytes)
    }

    func finish() async throws -> FinishedObject {
        try await settle()
        guard let upload else {
            if let tail { return FinishedObject(key: tail.key) }
            let key = try await newKey()
            try await store.put(filling, count: filled, to: key)
            return FinishedObject(key: key)
        }
        if tail != nil {
            try await takePermit()
            try await readBack()
        }
        if filled > 0 {
            try await send(nil)
            try await settle()
        }
        let isOurs = try await store.complete(upload.id, of: upload.key, parts, size: offset, isShared: !ownsUpload)
        return FinishedObject(key: upload.key, isCertain: isOurs)
    }

    func abandon() async -> [ObjectProgress] {
        sending?.task.cancel()
        _ = try? await sending?.task.value  // whatever became of it is deleted next
        sending = nil
        (filling, filled, permit) = ([], 0, nil)
        return ownKeys.map { key in
            let id = ownsUpload && key == upload?.key ? upload?.id : nil
            let state = S3UploadState(upload: id, parts: [], tail: 0)
            return ObjectProgress(key: key, offset: 0, state: state.bytes)
        }
    }
}
