/// How large the parts of an object are, given what is known of its length. A store takes 10,000 parts at most, so parts
/// grow where the length is unknown.
/// Source: [Amazon S3 multipart upload limits](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
struct PartPlan: Hashable, Sendable {
    private let known: Int?
    private let isEqual: Bool

    static let mebibyte = 1 << 20
    /// An object of up to this many bytes is sent in one request.
    static let single = 16 * mebibyte
    private static let equal = 32 * mebibyte
    /// Parts of one size, and the number of the last of them.
    private static let steps = [(1000, 8), (3000, 32), (6000, 128), (10_000, 512)]

    /// - Parameter length: bytes of the whole object, where known.
    init(length: Int64?, isEqual: Bool) {
        known = length.map { length in
            let least = Int((length + 8999) / 9000 + Int64(Self.mebibyte) - 1) / Self.mebibyte * Self.mebibyte
            return max(8 * Self.mebibyte, least)
        }
        self.isEqual = isEqual
    }

    /// Bytes of a part, counted from 1.
    func size(_ number: Int) -> Int {
        if isEqual { return Self.equal }
        if let known { return known }
        let step = Self.steps.first { number <= $0.0 }?.1 ?? 512
        // Whether it will be one request is not known before that many bytes have come.
        return number == 1 ? Self.single : step * Self.mebibyte
    }
}
