package import BlobStorage
package import Metadata
import Synchronization

/// An object that the database names and the blob store does not have as it should.
package struct ObjectFinding: Sendable, Encodable {
    /// `object-missing` or `object-wrong-size`.
    package let kind: String
    package let digest: String
    /// Of the object: in the folder of objects, or in the bucket behind `s3.prefix`.
    package let path: String
    /// Bytes that it should have.
    package let size: Int64
    /// Bytes that it has; nil if it is not there.
    package let found: Int64?
    /// `repository@digest` of manifests that list the blob.
    package let manifests: [String]
}

package struct ObjectCheckReport: Sendable, Encodable {
    package var objects = 0
    package var bytes: Int64 = 0
    package var findings: [ObjectFinding] = []
    /// False if so much was found that the check was ended early.
    package var isComplete = true
}

/// Asks the blob store for every object that the database names: for a database and objects that were restored each by
/// its own means. Reads no content and changes nothing.
package struct ObjectCheck: Sendable {
    private let metadata: MetadataStore
    private let blobs: any BlobStore
    private let concurrency: Int

    /// Rows that are asked for at a time: many times as many as are asked for at the store together.
    private static let pageSize = 2000
    /// Findings after which a check ends: it is the wrong bucket, or nothing that is repaired object by object.
    private static let maximumFindings = 10_000
    /// Manifests that are named for each finding.
    private static let maximumManifests = 100

    /// - Parameter concurrency: questions to the store at a time.
    package init(metadata: MetadataStore, blobs: any BlobStore, concurrency: Int) {
        (self.metadata, self.blobs, self.concurrency) = (metadata, blobs, concurrency)
    }

    /// - Parameter progress: told after each object how many of how many are done.
    package func run(
        progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void
    ) async throws -> ObjectCheckReport {
        try await metadata.checkSchema()
        let total = Int(try await metadata.objectCount())
        let report = Mutex(ObjectCheckReport())
        var last: [UInt8] = []
        while true {
            let page = try await metadata.objects(after: last, limit: Self.pageSize)
            guard let end = page.last?.key else { break }
            guard report.withLock({ $0.findings.count }) < Self.maximumFindings else {
                report.withLock { $0.isComplete = false }
                break
            }
            last = end
            try await forEach(page, atMost: concurrency) { object in
                let finding = try await check(object)
                let done = report.withLock { report in
                    report.objects += 1
                    report.bytes += object.size
                    if let finding { report.findings.append(finding) }
                    return report.objects
                }
                progress(done, total)
            }
        }
        return report.withLock { $0 }
    }

    private func check(_ object: ObjectRecord) async throws -> ObjectFinding? {
        let key = StorageKey(bytes: object.key)
        let found = try await blobs.size(of: key)
        guard found != object.size else { return nil }
        let users = try await metadata.users(of: object.digest, limit: Self.maximumManifests)
        return ObjectFinding(
            kind: found == nil ? "object-missing" : "object-wrong-size",
            digest: "\(object.digest)",
            path: key.path,
            size: object.size,
            found: found,
            manifests: users.map { "\($0.repository)@\($0.manifest)" }
        )
    }
}
