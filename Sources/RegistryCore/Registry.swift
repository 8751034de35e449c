package import BlobStorage
package import Logging
package import Metadata
import OCI

/// The registry itself: the operations of the distribution specification, free of HTTP.
package struct Registry: Sendable {
    let metadata: MetadataStore
    let blobs: any BlobStore
    package let policy: RegistryPolicy
    /// Nil if this server sends all bytes itself.
    package let downloads: DownloadPolicy?
    let metrics: RegistryMetrics
    let keys: KeyPool
    let uploads: UploadSessions
    let slots: Slots
    /// A plan of a large repository is seconds of work and megabytes in memory, and each page of a preview makes one.
    let planSlots = Slots(count: 2)
    package let pulls: PullCounter
    let logger: Logger

    /// - Parameter uploadSecret: what upload ids are signed with; the same on all nodes, at least 32 random bytes.
    package init(
        metadata: MetadataStore,
        blobs: any BlobStore,
        policy: RegistryPolicy,
        downloads: DownloadPolicy?,
        metrics: RegistryMetrics,
        uploadSecret: [UInt8],
        surroundings: Surroundings,
        logger: Logger
    ) {
        self.metadata = metadata
        self.blobs = blobs
        self.policy = policy
        self.downloads = downloads
        self.metrics = metrics
        self.logger = logger
        keys = KeyPool(
            metadata: metadata,
            batch: policy.keyBatch,
            uploadLifetime: policy.uploadLifetime,
            surroundings
        )
        pulls = PullCounter(metadata)
        slots = Slots(count: policy.maximumUploadsInFlight)
        uploads = UploadSessions(secret: uploadSecret, lifetime: policy.uploadLifetime, surroundings)
    }

}

/// What a registry accepts.
package struct RegistryPolicy: Sendable {
    /// Most bytes of a manifest. The specification asks for at least 4 MiB.
    package let maximumManifestSize: Int
    /// Most descriptors that one manifest may list.
    package let maximumReferences: Int
    /// Whether an index may list manifests that its repository does not hold.
    package let allowsSparseIndex: Bool
    /// Most bytes of a blob; nil for no limit.
    package let maximumBlobSize: Int64?
    /// Most uploads whose bytes are received at the same time.
    package let maximumUploadsInFlight: Int
    /// Bytes of an upload that are hashed and written in one go. Larger saves little, and each upload holds as many in
    /// memory.
    package let writeSize: Int
    /// Storage keys that are made in one write, ahead of the uploads that take them.
    package let keyBatch: Int
    /// How long an upload may rest between two requests.
    package let uploadLifetime: Duration

    package init(
        maximumManifestSize: Int = 4 * 1024 * 1024,
        maximumReferences: Int = 10_000,
        allowsSparseIndex: Bool = false,
        maximumBlobSize: Int64? = nil,
        maximumUploadsInFlight: Int = 1000,
        writeSize: Int = 256 * 1024,
        keyBatch: Int = 64,
        uploadLifetime: Duration = .seconds(24 * 3600)
    ) {
        self.maximumManifestSize = maximumManifestSize
        self.maximumReferences = maximumReferences
        self.allowsSparseIndex = allowsSparseIndex
        self.maximumBlobSize = maximumBlobSize
        self.maximumUploadsInFlight = maximumUploadsInFlight
        (self.writeSize, self.keyBatch) = (writeSize, keyBatch)
        self.uploadLifetime = uploadLifetime
    }
}
