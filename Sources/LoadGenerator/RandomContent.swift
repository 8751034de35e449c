import CLibCrypto

/// A blob to be pushed: pieces that lie one after the other, so that workers share the large one.
struct Blob: Sendable {
    let pieces: [[UInt8]]
    let digest: String
    var size: Int { pieces.reduce(0) { $0 + $1.count } }

    init(_ bytes: [UInt8]) {
        pieces = [bytes]
        digest = LoadGenerator.digest(of: bytes)
    }

    fileprivate init(pieces: [[UInt8]], digest: String) {
        self.pieces = pieces
        self.digest = digest
    }
}

/// Makes any number of blobs of one size that no registry has seen, at almost no cost: all share their first part, which
/// is random and hashed once, and end in bytes of their own. So the machine's time goes to the server and not to us.
struct RandomContent: Sendable {
    private let shared: [UInt8]
    private let hashOfShared: SHA256_CTX

    /// Bytes at the end of each blob that are its own: enough that two never agree.
    private static let uniqueLength = 32

    init(size: Int) throws {
        guard size >= Self.uniqueLength, size <= Int(Int32.max) else {
            throw LoadError("A blob of \(size) bytes cannot be made; sizes are \(Self.uniqueLength) bytes to 2 GiB.")
        }
        shared = randomBytes(size - Self.uniqueLength)
        var context = SHA256_CTX()
        SHA256_Init(&context)
        SHA256_Update(&context, shared, shared.count)
        hashOfShared = context
    }

    func next() -> Blob {
        let own = randomBytes(Self.uniqueLength)
        var context = hashOfShared
        var hash = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        SHA256_Update(&context, own, own.count)
        SHA256_Final(&hash, &context)
        return Blob(pieces: [shared, own], digest: LoadGenerator.digest(hash: hash))
    }
}
