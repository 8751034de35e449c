package import BlobStorage
package import Metadata

/// Stores objects and deletes them again. Their keys are in the trash before they are in the store, like all keys, and
/// stay there for the collector where something is left. Where there is no database yet, nobody knows of them: what
/// cannot be deleted is then found by `strata verify`.
package struct BlobStoreCheckup: Sendable {
    private let metadata: MetadataStore?
    private let blobs: any BlobStore
    /// Whether clients are to be sent to the store for large blobs.
    private let redirects: Bool

    /// Signatures are refused from 15 minutes on.
    private static let tolerableSkew = 30

    /// - Parameter metadata: with the current schema; nil if there is none.
    package init(_ metadata: MetadataStore?, _ blobs: any BlobStore, redirects: Bool) {
        (self.metadata, self.blobs, self.redirects) = (metadata, blobs, redirects)
    }

    package func run() async -> [Diagnosis] {
        do {
            let keys = [StorageKey.random(), StorageKey.random()]
            try await metadata?.registerKeys(keys.map(\.bytes))
            let probe = await blobs.probe(keys, readingURL: redirects)
            if blobs.deletesForGood, let metadata {
                try await metadata.forget(try await metadata.claim(probe.gone.map(\.bytes)))
            }
            return diagnoses(probe)
        } catch {
            let finding = "its keys cannot be kept in the database: \(error)"
            let isFull = MetadataStore.trouble(error) == .storageFull
            return [.problem("blob store", finding, "See to the database", permitsServing: isFull)]
        }
    }

    private func diagnoses(_ probe: StoreProbe) -> [Diagnosis] {
        var found: [Diagnosis] = []
        if let fault = probe.fault {
            // Without room, pulls go on; and a store that is down comes back, with nodes that were started meanwhile.
            let passes = fault.reason == .full || fault.reason == .unreachable
            found.append(.problem("blob store", "\(fault)", advice(fault), permitsServing: passes))
        } else if let fault = probe.leftoverFault {
            found.append(.problem("blob store", "\(fault)", advice(fault), permitsServing: true))
        } else {
            found.append(.ok("blob store", "objects can be stored, read and deleted"))
        }
        if let ahead = probe.clockAhead {
            if abs(ahead) > Self.tolerableSkew {
                let finding = "it is \(abs(ahead)) s \(ahead > 0 ? "ahead of" : "behind") this machine's"
                let advice = "Keep this machine's clock with NTP; at 15 minutes the store refuses every request"
                found.append(.warning("blob store clock", finding, advice))
            } else {
                found.append(.ok("blob store clock", "it agrees with this machine's"))
            }
        }
        if redirects, probe.fault == nil {
            found.append(
                probe.urlFault.map {
                    .problem(
                        "redirects",
                        $0,
                        "Make s3.endpoint reachable for clients, or set downloads.redirect = false",
                        permitsServing: true
                    )
                } ?? .ok("redirects", "signed URLs can be read")
            )
        }
        return found
    }

    private func advice(_ fault: StoreFault) -> String {
        switch fault.reason {
        case .unreachable: "Check s3.endpoint, the network to it, and where s3.credentials come from"
        case .noBucket: "Make the bucket, or correct s3.bucket, s3.endpoint or s3.style"
        case .wrongCredentials: "Correct s3.access-key-id and s3.secret-access-key, or what s3.credentials names"
        case .wrongRegion(let region):
            region.map { "Set s3.region = \($0)" }
                ?? "Set s3.region to the bucket's region, and s3.endpoint to that region's"
        case .clockSkew: "Set this machine's clock, with NTP: the store refuses signatures that are 15 minutes off"
        case .notAllowed:
            "Allow this user s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on the bucket's objects, "
                + "and s3:ListBucket and s3:ListBucketMultipartUploads on the bucket"
        case .full: "Make room, or raise the quota"
        case .other: "See what the store's own log says of it"
        }
    }
}
