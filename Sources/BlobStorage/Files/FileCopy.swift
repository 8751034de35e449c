import Glibc

/// Copies files as they are.
package enum FileCopy {
    /// Most bytes that the kernel is asked to copy in one call.
    private static let largestPiece = 1 << 30
    /// Bytes of the buffer where the kernel does not copy by itself.
    private static let bufferSize = 1 << 20

    /// Copies a file to a new one, or over an old one, and syncs its bytes; its name is its folder's to sync.
    ///
    /// - Returns: bytes copied; nil, and nothing is made, if there is no file `source`.
    /// - Throws: ``BlobStorageError``.
    package static func copy(_ source: String, to target: String) throws -> Int64? {
        let from = open(source, O_RDONLY | O_CLOEXEC)
        guard from >= 0 else {
            guard errno == ENOENT else { throw FileBlobStore.error("open \(source)") }
            return nil
        }
        defer { close(from) }
        let to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
        guard to >= 0 else { throw FileBlobStore.error("open \(target)") }
        defer { close(to) }
        let size = try copyInKernel(from, to)
        let rest = try copyThroughMemory(from, to)  // from where the kernel stopped
        guard fsync(to) == 0 else { throw FileBlobStore.error("fsync \(target)") }
        return size + rest
    }

    /// `sendfile` rather than `copy_file_range`, which may let both files share their bytes: a backup is to have its own.
    ///
    /// - Returns: bytes copied: none between file systems that cannot, all of them elsewhere.
    private static func copyInKernel(_ from: CInt, _ to: CInt) throws -> Int64 {
        var done: Int64 = 0
        while true {
            let count = sendfile(to, from, nil, largestPiece)
            if count > 0 {
                done += Int64(count)
            } else if count == 0 || [EINVAL, ENOSYS, EOPNOTSUPP].contains(errno) {
                return done
            } else if errno != EINTR {
                throw FileBlobStore.error("sendfile")
            }
        }
    }

    private static func copyThroughMemory(_ from: CInt, _ to: CInt) throws -> Int64 {
        var done: Int64 = 0
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferSize, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            let count = read(from, buffer.baseAddress, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileBlobStore.error("read") }
            guard count > 0 else { return done }
            var written = 0
            while written < count {
                let part = UnsafeRawBufferPointer(rebasing: buffer[written..<count])
                let result = write(to, part.baseAddress, part.count)
                if result < 0, errno == EINTR { continue }
                guard result > 0 else { throw FileBlobStore.error("write") }
                written += result
            }
            done += Int64(count)
        }
    }

    /// Gives a synced file its final name, so that a power failure leaves the old file or the new one.
    package static func publish(_ part: String, as path: String, in folder: String) throws {
        let descriptor = open(part, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileBlobStore.error("open \(part)") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw FileBlobStore.error("fsync \(part)") }
        guard rename(part, path) == 0 else { throw FileBlobStore.error("rename \(path)") }
        try FileBlobStore.sync(folder: folder)
    }
}
