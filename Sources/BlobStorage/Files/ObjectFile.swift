import Glibc
package import NIOCore
import NIOPosix

/// An object that is open for reading. Closed when the last reference goes.
package final class ObjectFile: Sendable {
    private let descriptor: CInt
    /// Bytes.
    package let size: Int64
    private let threads: NIOThreadPool

    init(path: String, key: StorageKey, threads: NIOThreadPool) throws {
        let opened = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard opened >= 0 else {
            throw errno == ENOENT
                ? BlobStorageError.missing(key) : BlobStorageError.failed(operation: "open", errno: errno)
        }
        var status = stat()
        guard fstat(opened, &status) == 0 else {
            let code = errno
            Glibc.close(opened)
            throw BlobStorageError.failed(operation: "fstat", errno: code)
        }
        descriptor = opened
        size = Int64(status.st_size)
        self.threads = threads
    }

    deinit { Glibc.close(descriptor) }

    /// At most `count` bytes from `offset` on; fewer only at the end.
    package func read(at offset: Int64, count: Int) async throws -> ByteBuffer {
        try await threads.runIfActive { [self] in
            var buffer = ByteBufferAllocator().buffer(capacity: count)
            let done = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { space in
                max(0, pread(descriptor, space.baseAddress, count, off_t(offset)))
            }
            guard done > 0 || count == 0 || offset >= size else {
                throw BlobStorageError.failed(operation: "pread", errno: errno)
            }
            return buffer
        }
    }

    /// A region for the kernel to send without copying. Close its handle when it is sent; this file stays open.
    package func region(_ range: Range<Int64>) throws -> FileRegion {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw BlobStorageError.failed(operation: "dup", errno: errno) }
        return FileRegion(
            fileHandle: NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: copy),
            readerIndex: Int(range.lowerBound),
            endIndex: Int(range.upperBound)
        )
    }
}

/// Reads part of a file, a piece at a time.
final class FileReader: ObjectReader {
    private let file: ObjectFile
    private var rest: Range<Int64>

    init(file: ObjectFile, rest: Range<Int64>) { (self.file, self.rest) = (file, rest) }

    func next() async throws -> ByteBuffer? {
        guard !rest.isEmpty else { return nil }
        let bytes = try await file.read(
            at: rest.lowerBound,
            count: Int(min(256 * 1024, rest.upperBound - rest.lowerBound))
        )
        guard bytes.readableBytes > 0 else {
            throw BlobStorageError.refused("a file ended before the length that it had")
        }
        rest = rest.lowerBound + Int64(bytes.readableBytes)..<rest.upperBound
        return bytes
    }
}

func errorText(_ code: CInt) -> String {
    var text = [CChar](repeating: 0, count: 128)
    guard strerror_r(code, &text, text.count) == 0 else { return "error \(code)" }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) + " (\(code))"
}
