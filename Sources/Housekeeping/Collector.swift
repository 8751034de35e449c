import Telemetry
package import BlobStorage
package import Logging
package import Metadata

/// Reclaims what nothing refers to any more, while pushes and pulls go on: manifests, then links, then blobs, then the
/// bytes themselves. Any number of them may work on the same stores.
///
/// It decides nothing by what it does not find: everything that it looks at was named by a hint or is in the trash, and
/// each removal is one small transaction that looks again under a lock. A collector that dies leaves nothing half done.
package struct Collector: Sendable {
    private let metadata: MetadataStore
    private let blobs: any BlobStore
    private let pace: Pace
    private let metrics: CollectorMetrics?
    private let logger: Logger

    /// Most rows of a transaction: on SQLite pushes wait for it, so it is to last a millisecond.
    private static let batch = 20
    /// Most objects that are deleted at a time.
    private static let deletions = 16
    /// Objects that are claimed at a time. All of them are deleted long before their claim ends.
    private static let claimed = 200

    package init(
        metadata: MetadataStore,
        blobs: any BlobStore,
        pace: Pace,
        metrics: CollectorMetrics?,
        logger: Logger
    ) {
        (self.metadata, self.blobs, self.pace) = (metadata, blobs, pace)
        (self.metrics, self.logger) = (metrics, logger)
    }

    /// Works off everything that is due.
    ///
    /// - Returns: what it did.
    package func run() async throws -> CollectionReport {
        var report = CollectionReport()
        // What one stage releases is not due for the next one yet, but it may have been released earlier.
        try await repeating(&report.repositories, "repositories") {
            try await metadata.purgeRepository(limit: Self.batch)
        }
        try await repeating(&report.manifests, "manifests") {
            try await metadata.collectReleasedManifests(limit: Self.batch)
        }
        try await repeating(&report.manifests, "manifests") { try await metadata.collectCondemnedManifest() }
        try await repeating(&report.links, "links") { try await metadata.collectLinks(limit: Self.batch) }
        try await repeating(&report.blobs, "blobs") { try await metadata.collectBlobs(limit: Self.batch) }
        try await repeating(&report.sessions, "sessions") { try await expireUploads() }
        try await repeating(&report.objects, "objects") { try await deleteObjects() }
        var forgotten = Collected()
        try await repeating(&forgotten, "deleted") { try await metadata.forgetDeleted(limit: Self.batch) }
        return report
    }

    /// Runs a stage until it finds nothing to do, with rests in between.
    private func repeating(
        _ sum: inout Collected,
        _ kind: String,
        _ stage: () async throws -> Collected
    ) async throws {
        while true {
            let done = try await pace.paced(stage)
            metrics?.count(done, kind)
            sum += done
            if done.hints == 0 { return }
        }
    }

    /// Ends upload sessions that nobody went on with, and deletes what they had received.
    private func expireUploads() async throws -> Collected {
        let abandoned = try await metadata.expireUploads(limit: Self.batch)
        let objects = abandoned.filter { !$0.keys.isEmpty }
        try await forEach(objects, atMost: Self.deletions) { upload in
            let keys = upload.keys.map { StorageKey(bytes: $0) }
            // A late copy of a request may still make the object again: it is then deleted again when the claim has ended.
            await deleting(keys.map(\.bytes), forgetting: blobs.deletesForGood) {
                let progress = ObjectProgress(
                    key: keys[0],
                    tail: keys.dropFirst().first,
                    offset: 0,
                    state: upload.storageState
                )
                try await blobs.discard(progress)
            }
        }
        return Collected(hints: abandoned.count, removed: abandoned.count)
    }

    private func deleteObjects() async throws -> Collected {
        let claimed = try await metadata.claimTrash(limit: Self.claimed)
        let objects = try await metadata.confirm(claimed)
        let gone = ReclaimedBytes()
        try await forEach(objects, atMost: Self.deletions) { object in
            let key = StorageKey(bytes: object.key)
            let isGone = await deleting([object.key]) {
                object.wasPublished ? try await blobs.delete(key) : try await blobs.purge(key)
            }
            if isGone { gone.add(bytes: object.size) }
        }
        return Collected(hints: claimed.count, removed: gone.count, bytes: gone.bytes)
    }

    /// Deletes objects and then, as a rule, forgets their keys. What fails is tried again when its claim has ended.
    @discardableResult
    private func deleting(
        _ keys: [[UInt8]],
        forgetting forgets: Bool = true,
        _ body: () async throws -> Void
    ) async -> Bool {
        do {
            try await body()
            if forgets { try await metadata.forget(keys) }
            return true
        } catch {
            metrics?.failures.add()
            logger.notice("an object could not be deleted yet", metadata: ["error": "\(error)"])
            return false
        }
    }
}

/// What a collector did, by what it was.
package struct CollectionReport: Hashable, Sendable, Encodable {
    package var repositories = Collected()
    package var manifests = Collected()
    package var links = Collected()
    package var blobs = Collected()
    package var sessions = Collected()
    package var objects = Collected()

    /// Bytes that are no longer stored.
    package var bytes: Int64 { manifests.bytes + blobs.bytes + objects.bytes + repositories.bytes }
}

extension Collected: Encodable {
    private enum Key: String, CodingKey { case removed, bytes }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(removed, forKey: .removed)
        try container.encode(bytes, forKey: .bytes)
    }
}
