/// The hash functions that the specification registers.
/// Source: [image-spec, Digests](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests).
package enum DigestAlgorithm: String, Sendable, CaseIterable {
    case sha256
    case sha512

    /// Bytes of a hash.
    package var hashSize: Int {
        switch self {
        case .sha256: 32
        case .sha512: 64
        }
    }

    /// The byte that stands before the hash in a stored digest. Written to databases: never change one.
    package var storageCode: UInt8 {
        switch self {
        case .sha256: 1
        case .sha512: 2
        }
    }

    /// - Throws: ``ParseError`` `.unsupportedAlgorithm`.
    package init(parsing text: some StringProtocol) throws(ParseError) {
        guard let algorithm = Self(rawValue: String(text)) else { throw .unsupportedAlgorithm(String(text)) }
        self = algorithm
    }
}
