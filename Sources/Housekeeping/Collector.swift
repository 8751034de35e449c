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

    /// Most objects that are deleted at a time.
    private static let deletions = 16
    /// Steps that a stage takes before those that had found nothing are asked again.
    private static let stepsOfRound = 10

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

    /// Works off everything that is due. Stages take steps in turn, so that a backlog of links does not keep the bytes of
    /// what was let go of before.
    ///
    /// A stage that fails does not keep the others from theirs.
    ///
    /// - Returns: what it did.
    /// - Throws: what made the first of the stages fail, after the others have found nothing more to do.
    package func run() async throws -> CollectionReport {
        var work = Work()
        while try await round(&work) {}
        if let failure = work.failure { throw failure }
        return work.report
    }

    private struct Work {
        var report = CollectionReport()
        /// The first one.
        var failure: (any Error)?
    }

    /// Asks every stage once, and those that find something again until they find nothing, or some times.
    ///
    /// - Returns: whether one found something.
    private func round(_ work: inout Work) async throws -> Bool {
        let found = try await step(stages, &work)
        var busy = found
        for _ in 1..<Self.stepsOfRound where !busy.isEmpty { busy = try await step(busy, &work) }
        return !found.isEmpty
    }

    /// One step of each, with rests in between.
    ///
    /// - Returns: the stages that found something to do.
    private func step(_ stages: [Stage], _ work: inout Work) async throws -> [Stage] {
        var busy: [Stage] = []
        for stage in stages {
            do {
                let done = try await pace.paced(stage.step)
                metrics?.count(done, stage.kind)
                stage.add(done, &work.report)
                if done.hints > 0 { busy.append(stage) }
            } catch let error as CancellationError {
                throw error
            } catch {
                work.failure = work.failure ?? error
            }
        }
        return busy
    }

    private struct Stage: Sendable {
        let kind: String
        let add: @Sendable (Collected, inout CollectionReport) -> Void
        let step: @Sendable () async throws -> Collected
    }

    /// In the order in which one leaves work to the next.
    private var stages: [Stage] {
        let (metadata, limit) = (metadata, metadata.collectedRows)
        return [
            Stage(kind: "repositories", add: { $1.repositories += $0 }) {
                try await metadata.purgeRepository(limit: limit)
            },
            Stage(kind: "manifests", add: { $1.manifests += $0 }) {
                try await metadata.collectReleasedManifests(limit: limit)
            },
            Stage(kind: "manifests", add: { $1.manifests += $0 }) { try await metadata.collectCondemnedManifest() },
            Stage(kind: "links", add: { $1.links += $0 }) { try await metadata.collectLinks(limit: limit) },
            Stage(kind: "blobs", add: { $1.blobs += $0 }) { try await metadata.collectBlobs(limit: limit) },
            Stage(kind: "sessions", add: { $1.sessions += $0 }) { try await expireUploads() },
            Stage(kind: "objects", add: { $1.objects += $0 }) { try await deleteObjects() },
            Stage(kind: "deleted", add: { _, _ in }) { try await metadata.forgetDeleted(limit: limit) },
        ]
    }

    /// Ends upload sessions that nobody went on with, and deletes what they had received.
    private func expireUploads() async throws -> Collected {
        let abandoned = try await metadata.expireUploads(limit: metadata.collectedRows)
        let objects = abandoned.filter { !$0.keys.isEmpty }
        let deleted = DeletedObjects()
        try await forEach(objects, atMost: Self.deletions) { upload in
            let keys = upload.keys.map { StorageKey(bytes: $0) }
            // A late copy of a request may still make the object again: it is then deleted again when the claim has ended.
            await trying(deleted) {
                let progress = ObjectProgress(
                    key: keys[0],
                    tail: keys.dropFirst().first,
                    offset: 0,
                    state: upload.storageState
                )
                try await blobs.discard(progress)
                if blobs.deletesForGood { try await metadata.forget(keys.map(\.bytes)) }
            }
        }
        tellFailures(of: deleted)
        return Collected(hints: abandoned.count, removed: abandoned.count)
    }

    /// Deletes objects whose time in the trash is over, and then forgets their keys, all of them at once.
    private func deleteObjects() async throws -> Collected {
        let claimed = try await metadata.claimTrash(limit: metadata.collectedRows)
        guard !claimed.isEmpty else { return Collected() }
        let deleted = DeletedObjects()
        try await forEach(try await metadata.confirm(claimed), atMost: Self.deletions) { object in
            let key = StorageKey(bytes: object.key)
            let isGone = await trying(deleted) {
                object.wasPublished ? try await blobs.delete(key) : try await blobs.purge(key)
            }
            if isGone { deleted.add(object) }
        }
        tellFailures(of: deleted)
        try await metadata.forget(deleted.keys)
        return Collected(hints: claimed.count, removed: deleted.keys.count, bytes: deleted.bytes)
    }

    /// Whether an object could be deleted. What fails is tried again when its claim has ended.
    @discardableResult
    private func trying(_ deleted: DeletedObjects, _ deletion: () async throws -> Void) async -> Bool {
        do {
            try await deletion()
            return true
        } catch {
            metrics?.failures.add()
            deleted.fail(error)
            return false
        }
    }

    /// Once for all that were tried together: they mostly fail for the same reason.
    private func tellFailures(of deleted: DeletedObjects) {
        guard let (count, first) = deleted.failure else { return }
        logger.warning("objects could not be deleted yet", metadata: ["count": "\(count)", "error": "\(first)"])
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
