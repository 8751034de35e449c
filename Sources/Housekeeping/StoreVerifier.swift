package import BlobStorage
package import Metadata
import Foundation
import NIOCore
import OCI

/// What a verification saw.
package struct VerificationReport: Sendable, Encodable {
    package var blobs = 0
    package var manifests = 0
    /// Bytes of content that were hashed again.
    package var bytes: Int64 = 0
    package var findings: [Finding] = []
    /// How many things the collector was told of.
    package var repaired = 0
}

extension Finding: Encodable {
    private enum Key: String, CodingKey { case kind, subject, detail }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(kind, forKey: .kind)
        try container.encode(subject, forKey: .subject)
        try container.encode(detail, forKey: .detail)
    }
}

/// Reads everything again: every blob and manifest is hashed, every invariant checked, every object looked up. May run
/// beside a server that serves, and changes nothing unless it is to repair.
package struct StoreVerifier: Sendable {
    private let metadata: MetadataStore
    private let blobs: any BlobStore

    /// Rows that are asked for at a time.
    private static let pageSize = 200

    package init(metadata: MetadataStore, blobs: any BlobStore) {
        self.metadata = metadata
        self.blobs = blobs
    }

    /// - Parameters:
    ///   - repair: whether the collector is told of what it does not know: what was forgotten, and objects that no row
    ///     knows once they are old. They go to the trash, from where they are deleted later.
    ///   - progress: told after each blob and manifest how many of how many are done.
    package func run(
        repair: Bool,
        progress: @Sendable (_ done: Int, _ total: Int) -> Void
    ) async throws -> VerificationReport {
        var report = VerificationReport()
        let counts = try await metadata.counts()
        let total = Int(counts.blobs + counts.manifests)
        report.findings += try await metadata.violations()
        try await verifyManifests(&report) { progress(done(in: $0), total) }
        try await verifyBlobs(&report) { progress(done(in: $0), total) }
        // Beside missing objects, those that no row knows may be of another registry whose store this is.
        let isOurs = !report.findings.contains { $0.kind == Self.missing }
        report.findings += try await strayObjects(repair: repair, isOurs: isOurs)
        if repair { report.repaired += try await metadata.hintForgotten() }
        report.repaired += report.findings.count { $0.kind == Self.condemned }
        return report
    }

    private func done(in report: VerificationReport) -> Int { report.manifests + report.blobs }

    private func verifyManifests(_ report: inout VerificationReport, _ step: (VerificationReport) -> Void) async throws
    {
        var last: Int64 = 0
        while true {
            let page = try await metadata.manifests(after: last, limit: Self.pageSize)
            guard let end = page.last?.id else { return }
            last = end
            for (_, stored, edges) in page {
                report.manifests += 1
                report.bytes += Int64(stored.bytes.count)
                if let wrong = Self.fault(of: stored, edges) {
                    report.findings.append(Finding(kind: wrong.0, subject: "\(stored.digest)", detail: wrong.1))
                }
                step(report)
            }
        }
    }

    private static func fault(of stored: StoredManifest, _ edges: MetadataStore.Edges) -> (String, String)? {
        let algorithm = stored.digest.algorithm
        let found = Digest(hashing: stored.bytes, with: algorithm)
        guard found == stored.digest else { return ("manifest-corrupt", "its bytes hash to \(found)") }
        guard let manifest = try? Manifest(decoding: stored.bytes, declaredType: stored.mediaType, algorithm: algorithm)
        else { return ("manifest-unreadable", "it was accepted but is not a manifest") }
        let needed = Set(manifest.blobs.filter { !$0.isExternal }.map(\.digest))
        let listed = Set(manifest.blobs.map(\.digest))
        if let missing = needed.subtracting(edges.blobs).first { return ("edge-missing", "it lists \(missing)") }
        if let extra = edges.blobs.subtracting(listed).first { return ("edge-extra", "it does not list \(extra)") }
        guard manifest.children.map(\.digest) == edges.children else {
            return ("edge-missing", "its children are not recorded as it lists them")
        }
        return nil
    }

    private func verifyBlobs(_ report: inout VerificationReport, _ step: (VerificationReport) -> Void) async throws {
        var last: Digest?
        while true {
            let page = try await metadata.blobs(after: last, limit: Self.pageSize)
            guard let end = page.last?.digest else { return }
            last = end
            for blob in page {
                report.blobs += 1
                report.bytes += blob.size
                if let fault = try await fault(of: blob) {
                    report.findings.append(Finding(kind: fault.0, subject: "\(blob.digest)", detail: fault.1))
                }
                step(report)
            }
        }
    }

    private func fault(of blob: BlobRecord) async throws -> (String, String)? {
        switch blob.location {
        case .inline(let bytes):
            guard Int64(bytes.count) == blob.size, Digest(hashing: bytes, with: blob.digest.algorithm) == blob.digest
            else { return ("blob-corrupt", "its \(bytes.count) inline bytes are not what its digest names") }
            return nil
        case .object(let bytes):
            let key = StorageKey(bytes: bytes)
            do {
                var digester = Digester(blob.digest.algorithm)
                let reader = try await blobs.open(key, size: blob.size).reader(0..<blob.size)
                while let chunk = try await reader.next() { chunk.withUnsafeReadableBytes { digester.update($0) } }
                let found = digester.finalize()
                return found == blob.digest ? nil : ("blob-corrupt", "its object \(key) hashes to \(found)")
            } catch BlobStorageError.missing {
                return (Self.missing, "its object \(key) is not there, or has not \(blob.size) bytes")
            }
        }
    }

    /// Objects whose key no row knows. A key is in the database before its object is in the store, so there is no
    /// moment in which a healthy store has one.
    ///
    /// Such an object is not deleted for not being known: a young one may be of a store that was put back to an earlier
    /// moment and is still being looked into.
    ///
    /// - Parameter isOurs: whether no object is missing; else nothing is condemned.
    private func strayObjects(repair: Bool, isOurs: Bool) async throws -> [Finding] {
        let found = FindingList()
        let limit = Int64(Date().timeIntervalSince1970) - Self.strayAge
        try await blobs.forEachObject { object in
            if try await !metadata.knows(key: object.key.bytes) {
                // An upload may have been given up between the listing and the question; then the object is gone too.
                guard try await blobs.exists(object.key) else { return }
                let isOld = object.modifiedAt < limit
                let isCondemned =
                    repair && isOurs && isOld
                    ? try await metadata.condemn(strayKey: object.key.bytes, size: object.size) : false
                let age = isOld ? "for more than a week" : "for less than a week"
                let why = repair && !isOurs ? ", since others are missing: is this the right store?" : ""
                let end = isCondemned ? "it is in the trash now" : "it stays\(why)"
                found.append(
                    Finding(
                        kind: isCondemned ? Self.condemned : "stray-object",
                        subject: "\(object.key)",
                        detail: "an object of \(object.size) bytes that no row knows, there \(age); \(end)"
                    )
                )
            }
        }
        return found.all
    }

    private static let missing = "blob-missing"
    private static let condemned = "stray-object-condemned"
    /// How old an object that no row knows must be before it is given to the trash. Seconds: a week.
    private static let strayAge: Int64 = 7 * 86_400
}
