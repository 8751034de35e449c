import Glibc
import NIOPosix
import OCI

// Copies of published objects in another folder. They are immutable, so one that has the right size is the right one: a
// copy gets its name only when all of its bytes are synced.
extension FileBlobStore {
    private static let partSuffix = ".part"

    /// Copies an object from another store unless it is here already. Its name is durable after ``syncFolders()``.
    ///
    /// - Parameter size: bytes that it must have.
    /// - Returns: whether it was copied.
    /// - Throws: ``BlobStorageError`` `.missing` if the other store does not have it with that size.
    package func copy(_ key: StorageKey, size: Int64, from other: FileBlobStore) async throws -> Bool {
        if try await self.size(of: key) == size { return false }
        return try await threads.runIfActive { [self] in
            let part = path(key) + Self.partSuffix
            guard let copied = try FileCopy.copy(other.path(key), to: part) else {
                throw BlobStorageError.missing(key)
            }
            guard copied == size else {
                unlink(part)
                throw BlobStorageError.missing(key)
            }
            guard rename(part, path(key)) == 0 else { throw Self.error("rename") }
            return true
        }
    }

    /// Makes the names of all objects durable.
    package func syncFolders() async throws {
        for folder in folders { try await threads.runIfActive { try Self.sync(folder: folder) } }
    }

    /// Removes what copies that were broken off have left. Nobody may copy meanwhile.
    package func removePartialCopies() async throws {
        for folder in folders {
            try await threads.runIfActive {
                for name in try Self.names(in: folder) where name.hasSuffix(Self.partSuffix) {
                    guard unlink("\(folder)/\(name)") == 0 else { throw Self.error("unlink \(folder)/\(name)") }
                }
            }
        }
    }
}
