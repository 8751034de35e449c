/// How large the parts of an object are, given what is known of its length. A store takes 10,000 parts at most, so parts
/// grow where the length is unknown.
/// Source: [Amazon S3 multipart upload limits](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
struct PartPlan: Hashable, Sendable {
    private let length: ObjectLength
    /// Bytes of parts of one size, of which there are enough for the length that is known.
    private let even: Int
    private let isEqual: Bool

    static let mebibyte = 1 << 20
    /// An object of up to this many bytes is sent in one request.
    static let single = 16 * mebibyte
    private static let equal = 32 * mebibyte
    private static let least = 8 * mebibyte
    private static let most: Int64 = 5 << 30
    private static let maximumParts = 10_000
    /// Parts of one size in MiB, and the number of the last of them.
    private static let steps = [(1000, 8), (3000, 32), (6000, 128), (10_000, 512)]

    /// - Parameters:
    ///   - length: of the whole object; nil if nothing is known of it.
    ///   - parts: those that are in the store already.
    ///   - size: their bytes.
    init(length: ObjectLength?, after parts: Int = 0, of size: Int64 = 0, isEqual: Bool) {
        self.length = length ?? .atLeast(0)
        // A tenth is left: bytes that were read back may make a part larger or smaller than planned.
        let free = Int64(max(1, (Self.maximumParts - parts) * 9 / 10))
        let rest = max(0, self.length.bytes - size)
        // What a client says may be more than any store takes: then the store refuses it.
        let share = min(rest / free, Self.most - 1) + 1
        even = max(Self.least, (Int(share) + Self.mebibyte - 1) / Self.mebibyte * Self.mebibyte)
        self.isEqual = isEqual
    }

    /// Bytes of a part, counted from 1.
    func size(_ number: Int) -> Int {
        if isEqual { return Self.equal }
        switch length {
        case .exactly(let bytes): return bytes <= Self.single ? Self.single : even
        // Whether it will be one request is not known before that many bytes have come.
        case .atLeast(let bytes) where number == 1 && bytes <= Self.single: return Self.single
        case .atLeast: return max(even, (Self.steps.first { number <= $0.0 }?.1 ?? 512) * Self.mebibyte)
        }
    }
}
