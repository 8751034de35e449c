/// How long what we told a client stays true. Milliseconds. Recorded with every answer that makes a promise, so that
/// the collector, which acts later, can keep it.
package struct Promises: Sendable {
    /// How long an upload or a mount keeps its blob, and a HEAD what has less than the window left.
    package let lease: Int64
    /// How long every 2xx is good for.
    package let window: Int64
    /// How long an unpublished upload keeps its key.
    package let upload: Int64
    /// How long a blob that no repository holds any more is kept, for the next push that brings it.
    package let blobDelay: Int64
    /// How long the bytes of a key that nothing names any more stay readable.
    package let trash: Int64

    /// How long a deleted tag is kept after its own window. A rule takes a tag first, and the manifest once nothing is promised
    /// of it any more: the tag can be put back with it.
    var memoryOfTags: Int64 { max(lease, window) + memoryOfManifests }
    /// The same of a deleted manifest, whose bytes are gone by then.
    var memoryOfManifests: Int64 { blobDelay + trash }

    /// How long an object that is to be deleted is one process's to delete.
    static let claim: Int64 = 10 * 60_000

    /// - Parameter attempts: how often it was tried before. The claim doubles with each, up to 21 hours.
    static func claim(attempts: Int64) -> Int64 { claim << min(attempts, 7) }

    package init(lease: Duration, window: Duration, upload: Duration, blobDelay: Duration, trash: Duration) {
        self.lease = lease.milliseconds
        self.window = window.milliseconds
        self.upload = upload.milliseconds
        self.blobDelay = blobDelay.milliseconds
        self.trash = trash.milliseconds
    }

    package static let standard = Promises(
        lease: .seconds(12 * 3600),
        window: .seconds(6 * 3600),
        upload: .seconds(24 * 3600),
        blobDelay: .seconds(15 * 60),
        trash: .seconds(2 * 3600)
    )
}

extension Duration {
    package var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
