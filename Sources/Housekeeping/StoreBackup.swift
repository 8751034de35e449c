package import BlobStorage
import Metadata
package import NIOPosix
import Synchronization

/// Copies an embedded registry to a folder while it serves.
///
/// The database comes first, as it is at one moment; then every object that it names. Such an object is published, so it
/// never changes, and its key is never used again; deleted, it stays for `promises.trash`. A backup that is
/// interrupted at any point leaves the one before it whole: objects are only added until the new database is in place.
package struct StoreBackup: Sendable {
    private let database: String
    private let objects: FileBlobStore
    private let folder: BackupFolder
    private let threads: NIOThreadPool

    /// - Parameters:
    ///   - database: path of the registry's database.
    ///   - objects: of the registry.
    package init(database: String, objects: FileBlobStore, to folder: BackupFolder, threads: NIOThreadPool) {
        (self.database, self.objects, self.folder, self.threads) = (database, objects, folder, threads)
    }

    /// - Parameter progress: told after each object how many of how many are copied.
    /// - Throws: ``BackupError``; what the stores throw.
    package func run(
        progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void
    ) async throws -> CopyReport {
        try folder.make()
        let lock = try folder.lock(.writing)
        defer { withExtendedLifetime(lock) {} }
        try await requireOwnBackup()
        let target = try folder.objects(threads)
        try await target.removePartialCopies()

        let path = try folder.prepareSnapshot()
        try await MetadataCopy.make(of: database, at: path)
        let copy = try await MetadataCopy(path: path)
        let copier = ObjectCopier(source: objects, target: target, place: .registry)
        var report = try await copier.run(copy.store, progress: progress)
        try folder.publishSnapshot()
        report.removedObjects = try await removeObjects(notIn: copy.store, from: target)
        try copy.close()
        return report
    }

    /// Another registry's backup would be lost: all of its objects are superfluous here.
    ///
    /// - Throws: ``BackupError/isOfAnother(_:)``, ``BackupError/unreadable(_:reason:)``.
    private func requireOwnBackup() async throws {
        guard folder.hasSnapshot else { return }
        let last: [UInt8]?
        do {
            last = try await MetadataCopy.identity(of: folder.snapshot)
        } catch {
            throw BackupError.unreadable(folder.path, reason: "\(error)")
        }
        // A registry that nobody had served yet was nobody's to lose.
        guard let last else { return }
        guard try await MetadataCopy.identity(of: database) == last else { throw BackupError.isOfAnother(folder.path) }
    }

    private func removeObjects(notIn snapshot: MetadataStore, from target: FileBlobStore) async throws -> Int {
        let removed = Mutex(0)
        try await target.forEachObject { object in
            let key = object.key
            guard try await !snapshot.publishes(key: key.bytes) else { return }
            try await target.delete(key)
            removed.withLock { $0 += 1 }
        }
        return removed.withLock { $0 }
    }
}
