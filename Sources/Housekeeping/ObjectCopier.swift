import BlobStorage
import Metadata
import Synchronization

/// What was copied.
package struct CopyReport: Sendable, Encodable {
    /// Objects of the copy, new or already there.
    package var objects = 0
    /// Bytes of them.
    package var bytes: Int64 = 0
    package var copiedObjects = 0
    package var copiedBytes: Int64 = 0
    /// Objects that were removed, since no snapshot names them any more.
    package var removedObjects = 0
}

/// Copies the objects that a snapshot of the database names from one folder to another.
struct ObjectCopier: Sendable {
    let source: FileBlobStore
    let target: FileBlobStore
    /// Where an object would be missing.
    let place: BackupError.Place

    /// Rows that are asked for at a time.
    private static let pageSize = 500
    /// Copies at a time: enough to hide the latency of a sync, few enough to leave the disk to the registry.
    private static let concurrency = 4

    /// - Parameter progress: told after each object how many of how many are done.
    /// - Throws: ``BackupError`` `.objectMissing`.
    func run(
        _ snapshot: MetadataStore,
        progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void
    ) async throws -> CopyReport {
        let total = Int(try await snapshot.objectCount())
        let tally = Tally()
        var last: [UInt8] = []
        while true {
            let page = try await snapshot.objects(after: last, limit: Self.pageSize)
            guard let end = page.last?.key else { break }
            last = end
            try await forEach(page, atMost: Self.concurrency) { object in
                let isNew = try await copy(object)
                progress(tally.add(object.size, isNew: isNew), total)
            }
        }
        try await target.syncFolders()
        return tally.report
    }

    private func copy(_ object: ObjectRecord) async throws -> Bool {
        let key = StorageKey(bytes: object.key)
        do {
            return try await target.copy(key, size: object.size, from: source)
        } catch BlobStorageError.missing {
            throw BackupError.objectMissing(object.digest, key, place)
        }
    }
}

private final class Tally: Sendable {
    private let state = Mutex(CopyReport())

    var report: CopyReport { state.withLock { $0 } }

    /// - Returns: objects so far.
    func add(_ size: Int64, isNew: Bool) -> Int {
        state.withLock { report in
            report.objects += 1
            report.bytes += size
            if isNew {
                report.copiedObjects += 1
                report.copiedBytes += size
            }
            return report.objects
        }
    }
}
