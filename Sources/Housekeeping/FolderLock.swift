import BlobStorage
import Foundation

/// A lock on a file, gone with the process that holds it.
package final class FolderLock: Sendable {
    package enum Kind: Sendable {
        case writing
        /// Beside others that read, and where nothing can be written.
        case reading
    }

    private let descriptor: CInt

    /// Nil if somebody else holds it.
    package init?(path: String, _ kind: Kind) throws {
        let flags = kind == .writing ? O_RDWR | O_CREAT : O_RDONLY
        descriptor = open(path, flags | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            // A backup that was copied here without its lock is not being written.
            guard kind == .reading, errno == ENOENT else {
                throw BlobStorageError.failed(operation: "open \(path)", errno: errno)
            }
            return
        }
        guard flock(descriptor, (kind == .writing ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            guard code == EWOULDBLOCK else { throw BlobStorageError.failed(operation: "flock \(path)", errno: code) }
            return nil
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}
