import Access
import Metadata
import NIOCore
import OCI
import Telemetry

extension Registry {
    /// Publishes a small blob that one request brings whole, as nearly all small ones come. It does not ask where the
    /// session stands, which would be one more way to the database: the transaction that publishes the blob looks.
    ///
    /// - Returns: nil if the blob is published; else the chunk, which is to be taken the usual way.
    /// - Throws: ``RegistryError``; the session stands where it stood.
    func publishWhole(
        _ id: some StringProtocol,
        as digest: Digest,
        _ chunk: UploadChunk,
        with grant: Grant<Push>
    ) async throws -> UploadChunk? {
        let (id, isFresh) = try uploads.id(id, in: grant.repository)
        let limit = min(Int64(MetadataStore.maximumInlineSize), policy.maximumBlobSize ?? .max)
        guard isFresh, chunk.range == nil, let length = chunk.length, length > 0, length <= limit else { return chunk }
        return try await uploads.exclusively(id) {
            let bytes = try await slots.withSlot {
                metrics.inFlight.add()
                defer { metrics.inFlight.add(-1) }
                return try await Self.collect(chunk.body)
            }
            if Digest(hashing: bytes, with: digest.algorithm) == digest {
                do {
                    let isNew = try await metadata.commit(
                        FinishedUpload(
                            digest,
                            size: Int64(bytes.count),
                            at: .inline(bytes),
                            session: id.bytes,
                            isWhole: true,
                            in: grant.repository
                        )
                    )
                    uploads.end(id)
                    metrics.uploadedBytes.add(Int64(bytes.count))
                    metrics.uploads.add(1, isNew ? "stored" : "deduplicated")
                    return nil
                } catch is UploadHasBegun {}  // an earlier request has brought something, or has ended it
            }
            var rest: ByteBuffer? = ByteBuffer(bytes: bytes)
            return UploadChunk(range: nil, length: length) {
                defer { rest = nil }
                return rest
            }
        }
    }

    private static func collect(_ body: BodyReader) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let piece = try await body() { bytes.append(contentsOf: piece.readableBytesView) }
        return bytes
    }
}
