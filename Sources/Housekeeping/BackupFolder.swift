import BlobStorage
import Foundation
import NIOPosix

/// What a backup is: a folder with `snapshot.sqlite`, a copy of the database, and `objects/`, with at least the objects
/// that it names. The database is not called as in a data folder, so that neither is taken for the other.
package struct BackupFolder: Sendable {
    let path: String

    package init(path: String) { self.path = path }

    var snapshot: String { path + "/snapshot.sqlite" }
    private var unfinishedSnapshot: String { path + "/snapshot.sqlite.part" }

    func objects(_ threads: NIOThreadPool) throws -> FileBlobStore {
        try FileBlobStore(root: path + "/objects", threads: threads, syncs: true)
    }

    /// Makes the folder if it is missing.
    ///
    /// - Throws: ``BackupError/isDataFolder(_:)``: its objects would be removed as superfluous.
    func make() throws {
        guard !FileManager.default.fileExists(atPath: path + "/metadata.sqlite") else {
            throw BackupError.isDataFolder(path)
        }
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
    }

    /// Whether a backup was ever finished here.
    var hasSnapshot: Bool { FileManager.default.fileExists(atPath: snapshot) }

    /// - Throws: ``BackupError/noBackup(_:)``.
    func requireSnapshot() throws {
        guard hasSnapshot else { throw BackupError.noBackup(path) }
    }

    /// An empty file for the next snapshot, which only its owner reads: the database holds a secret.
    ///
    /// - Returns: its path.
    func prepareSnapshot() throws -> String {
        for rest in [unfinishedSnapshot, unfinishedSnapshot + "-journal"] {
            guard unlink(rest) == 0 || errno == ENOENT else {
                throw BlobStorageError.failed(operation: "unlink \(rest)", errno: errno)
            }
        }
        guard
            FileManager.default.createFile(
                atPath: unfinishedSnapshot,
                contents: nil,
                attributes: [.posixPermissions: 0o600]
            )
        else { throw BlobStorageError.failed(operation: "creating \(unfinishedSnapshot)", errno: errno) }
        return unfinishedSnapshot
    }

    /// Puts the prepared snapshot in place of the last one. Before and after, the backup is whole.
    func publishSnapshot() throws { try FileCopy.publish(unfinishedSnapshot, as: snapshot, in: path) }

    /// Keeps others away while a backup is made or restored; until the lock is let go, or the process ends.
    ///
    /// - Throws: ``BackupError/isBusy(_:)``.
    func lock(_ kind: FolderLock.Kind) throws -> FolderLock {
        guard let lock = try FolderLock(path: path + "/lock", kind) else { throw BackupError.isBusy(path) }
        return lock
    }
}
