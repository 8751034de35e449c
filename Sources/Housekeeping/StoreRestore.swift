import BlobStorage
import Foundation
import Metadata
package import NIOPosix

/// Makes the data folder of a registry from a backup.
package struct StoreRestore: Sendable {
    private let folder: BackupFolder
    private let data: String
    private let database: String
    private let objects: String
    private let threads: NIOThreadPool

    /// - Parameters:
    ///   - data: path of the new data folder, missing or empty.
    ///   - database: path of the database to be, in it.
    ///   - objects: path of the objects to be, in it.
    package init(
        from folder: BackupFolder,
        to data: String,
        database: String,
        objects: String,
        threads: NIOThreadPool
    ) {
        (self.folder, self.data, self.database, self.objects, self.threads) = (folder, data, database, objects, threads)
    }

    /// Objects first: without a database, the folder cannot be taken for a registry that was restored whole.
    ///
    /// - Parameter progress: told after each object how many of how many are copied.
    /// - Throws: ``BackupError``; what the stores throw.
    package func run(
        progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void
    ) async throws -> CopyReport {
        try folder.requireSnapshot()
        let lock = try folder.lock(.reading)
        defer { withExtendedLifetime(lock) {} }
        try makeDataFolder()
        let copy = try await MetadataCopy(path: folder.snapshot)
        let copier = ObjectCopier(
            source: try folder.objects(threads),
            target: try FileBlobStore(root: objects, threads: threads, syncs: true),
            place: .backup
        )
        let report = try await copier.run(copy.store, progress: progress)
        try copy.close()
        let part = database + ".part"
        guard try FileCopy.copy(folder.snapshot, to: part) != nil else { throw BackupError.noBackup(folder.snapshot) }
        try FileCopy.publish(part, as: database, in: data)
        return report
    }

    private func makeDataFolder() throws {
        try FileManager.default.createDirectory(
            atPath: data,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o750]
        )
        // A file system of its own has this folder at its root.
        let found = try FileManager.default.contentsOfDirectory(atPath: data).filter { $0 != "lost+found" }
        guard found.isEmpty else { throw BackupError.notEmpty(data) }
    }
}
