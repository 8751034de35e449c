import Glibc
import NIOCore
package import NIOPosix
import OCI
import Synchronization

/// Objects as files: `objects/<first two digits of the key>/<key>`, written in place once and never renamed.
package struct FileBlobStore: BlobStore {
    private let root: String
    let threads: NIOThreadPool
    fileprivate let syncs: Bool

    /// Makes the folders if they are missing.
    ///
    /// - Parameters:
    ///   - threads: where blocking calls run; started by the caller.
    ///   - syncs: whether objects survive a power failure, or only a crash of the process.
    package init(root: String, threads: NIOThreadPool, syncs: Bool) throws {
        self.root = root
        self.threads = threads
        self.syncs = syncs
        for folder in [root] + folders {
            guard mkdir(folder, 0o750) == 0 || errno == EEXIST else {
                throw BlobStorageError.failed(operation: "mkdir \(folder)", errno: errno)
            }
        }
        try Self.sync(folder: root)
    }

    /// Those that hold objects.
    var folders: [String] { (0...255).map { "\(root)/\(Hexadecimal.encode([UInt8($0)]))" } }
    fileprivate func folder(_ key: StorageKey) -> String { "\(root)/\(Hexadecimal.encode(key.bytes.prefix(1)))" }
    func path(_ key: StorageKey) -> String { "\(root)/\(key.path)" }

    package func makeWriter(expecting length: ObjectLength?, _ keys: @escaping KeySource) async throws -> any BlobWriter
    {
        try await open(try await keys(), at: 0)
    }

    package func makeWriter(
        continuing progress: ObjectProgress,
        expecting length: ObjectLength?,
        _ keys: @escaping KeySource
    ) async throws -> any BlobWriter {
        try await open(progress.key, at: progress.offset)
    }

    private func open(_ key: StorageKey, at offset: Int64) async throws -> FileBlobWriter {
        try await threads.runIfActive { [self] in
            let descriptor = Glibc.open(path(key), O_WRONLY | O_CLOEXEC | (offset == 0 ? O_CREAT : 0), 0o640)
            guard descriptor >= 0 else {
                throw errno == ENOENT ? BlobStorageError.missing(key) : Self.error("open")
            }
            let writer = FileBlobWriter(store: self, key: key, descriptor: descriptor, offset: offset)
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { throw Self.error("fstat") }
            guard Int64(status.st_size) >= offset else { throw BlobStorageError.missing(key) }
            guard Int64(status.st_size) == offset || ftruncate(descriptor, off_t(offset)) == 0 else {
                throw Self.error("ftruncate")
            }
            return writer
        }
    }

    package func open(_ key: StorageKey, size: Int64) async throws -> StoredObject {
        // Quick enough to stay on this thread: the folder's entry is in memory or one read away.
        let file = try ObjectFile(path: path(key), key: key, threads: threads)
        guard file.size == size else { throw BlobStorageError.missing(key) }
        return .file(file)
    }

    package func size(of key: StorageKey) async throws -> Int64? {
        try await threads.runIfActive { [self] in
            var status = stat()
            guard stat(path(key), &status) == 0 else {
                guard errno == ENOENT else { throw Self.error("stat") }
                return nil
            }
            return Int64(status.st_size)
        }
    }

    package func discard(_ progress: ObjectProgress) async throws { try await delete(progress.key) }

    package var preferredChunk: Int { 1 }
    package var deletesForGood: Bool { true }

    package func close() async throws {}

    package func delete(_ key: StorageKey) async throws {
        try await threads.runIfActive { [self] in
            guard unlink(path(key)) == 0 || errno == ENOENT else { throw Self.error("unlink") }
            // Whoever is told that it is gone forgets the key. Each of a batch has its own folder most of the time.
            if syncs { try Self.sync(folder: folder(key)) }
        }
    }

    package func forEachObject(_ body: @escaping @Sendable (ListedObject) async throws -> Void) async throws {
        for folder in folders {
            let found = try await threads.runIfActive { try Self.objects(in: folder) }
            for object in found { try await body(object) }
        }
    }

    package func checkHealth() async throws {
        try await threads.runIfActive { [self] in
            var status = statvfs()
            guard statvfs(root, &status) == 0 else { throw Self.error("statvfs") }
            guard status.f_bavail > 0 else { throw BlobStorageError.full }
        }
    }

    private static func objects(in folder: String) throws -> [ListedObject] {
        try names(in: folder).compactMap { name in
            var status = stat()
            guard let key = StorageKey(name), stat("\(folder)/\(name)", &status) == 0 else { return nil }
            return ListedObject(key: key, size: Int64(status.st_size), modifiedAt: Int64(status.st_mtim.tv_sec))
        }
    }

    static func names(in folder: String) throws -> [String] {
        guard let stream = opendir(folder) else { throw error("opendir") }
        defer { closedir(stream) }
        var found: [String] = []
        while let entry = readdir(stream) {
            found.append(
                withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            )
        }
        return found
    }

    static func sync(folder: String) throws {
        let descriptor = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw error("open \(folder)") }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw error("fsync \(folder)") }
    }

    static func error(_ operation: String) -> BlobStorageError {
        errno == ENOSPC || errno == EDQUOT ? .full : .failed(operation: operation, errno: errno)
    }
}

/// Writes one file. Its descriptor closes with it.
private final class FileBlobWriter: BlobWriter {
    private let store: FileBlobStore
    private let key: StorageKey
    private let descriptor: CInt
    private let start: Int64
    private let offset: Mutex<Int64>

    init(store: FileBlobStore, key: StorageKey, descriptor: CInt, offset: Int64) {
        (self.store, self.key, self.descriptor) = (store, key, descriptor)
        start = offset
        self.offset = Mutex(offset)
    }

    deinit { Glibc.close(descriptor) }

    func append(_ chunks: [ByteBuffer], hashing digester: Digester) async throws -> Digester {
        try await store.threads.runIfActive { [self] in
            var digester = digester
            let start = offset.withLock { $0 }
            var position = start
            do {
                for chunk in chunks {
                    try chunk.withUnsafeReadableBytes { bytes in
                        digester.update(bytes)
                        try write(bytes, at: position)
                        position += Int64(bytes.count)
                    }
                }
            } catch {
                // A shorter chunk that follows must not leave these bytes behind it.
                ftruncate(descriptor, off_t(start))
                throw error
            }
            offset.withLock { $0 = position }
            return digester
        }
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at start: Int64) throws {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(start + Int64(done)))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw FileBlobStore.error("pwrite") }
            done += count
        }
    }

    /// A file that was cut off by a crash is gone on with where it was last suspended.
    func takeCheckpoint() async -> Checkpoint? { nil }

    func suspend() async throws -> ObjectProgress {
        try await sync()
        return ObjectProgress(key: key, offset: offset.withLock { $0 })
    }

    func finish() async throws -> FinishedObject {
        try await sync()
        return FinishedObject(key: key)
    }

    /// Only an object that began here: one that was gone on with is cut off where it stood by its next writer.
    func abandon() async -> [ObjectProgress] { start == 0 ? [ObjectProgress(key: key, offset: 0)] : [] }

    private func sync() async throws {
        guard store.syncs else { return }
        try await store.threads.runIfActive { [self] in
            guard fsync(descriptor) == 0 else { throw FileBlobStore.error("fsync") }
            try FileBlobStore.sync(folder: store.folder(key))
        }
    }
}
