import NIOCore

/// Bytes of a body that wait to be written together, in about as much memory as they need: a piece keeps all that was read
/// with it alive, and how small its pieces are is for the client to say.
struct UploadBatch {
    private(set) var chunks: [ByteBuffer] = []
    /// Bytes.
    private(set) var size = 0
    /// Whether the last chunk holds copies, so that more may be put behind them.
    private var endsWithCopies = false

    /// Bytes below which a piece costs more by itself than it holds.
    private static let small = 1024

    mutating func add(_ piece: ByteBuffer) {
        size += piece.readableBytes
        let isCostly = piece.readableBytes < Self.small || piece.storageCapacity > 2 * piece.readableBytes
        // Most bodies of little are one piece, which goes as soon as the body ends.
        guard isCostly, let last = chunks.indices.last else {
            chunks.append(piece)
            endsWithCopies = false
            return
        }
        if endsWithCopies {
            chunks[last].writeImmutableBuffer(piece)
        } else {
            chunks.append(ByteBuffer(bytes: piece.readableBytesView))
            endsWithCopies = true
        }
    }

    mutating func removeAll() {
        chunks.removeAll(keepingCapacity: true)
        (size, endsWithCopies) = (0, false)
    }
}
