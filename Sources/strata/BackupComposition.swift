import BlobStorage
import Foundation
import Housekeeping
import NIOPosix

/// What copies an embedded registry. Opens no store of its own: a backup neither makes a data folder nor touches its
/// schema, and a restored folder begins empty.
struct BackupComposition {
    private let data: DataFolder
    private let threads: NIOThreadPool

    /// - Throws: ``ConfigurationError`` unless everything is in the data folder.
    init(_ configuration: Configuration) throws {
        guard configuration.metadata == .sqlite, configuration.blobs == .files else {
            throw ConfigurationError(
                problems: [
                    .contradiction(
                        keys: ["metadata", "blobs"],
                        reason: "This command copies a data folder: metadata = sqlite with blobs = files. PostgreSQL "
                            + "and buckets are copied by their own means, as docs/backup.md describes."
                    )
                ]
            )
        }
        data = DataFolder(configuration)
        threads = NIOThreadPool(numberOfThreads: 4)  // as many as copies are made at a time
        threads.start()
    }

    var dataPath: String { data.path }

    /// - Throws: ``ConfigurationError`` if no registry is there: its empty backup would replace a good one.
    func backup(to path: String) throws -> StoreBackup {
        try data.requireRegistry()
        return StoreBackup(
            database: data.database,
            objects: try FileBlobStore(root: data.objects, threads: threads, syncs: true),
            to: folder(path),
            threads: threads
        )
    }

    func restore(from path: String) -> StoreRestore {
        StoreRestore(
            from: folder(path),
            to: data.path,
            database: data.database,
            objects: data.objects,
            threads: threads
        )
    }

    private func folder(_ path: String) -> BackupFolder { BackupFolder(path: URL(fileURLWithPath: path).path) }
}
