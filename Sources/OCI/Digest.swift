/// The name of some content: an algorithm and a hash. A value exists only in canonical form, so equal content has one
/// spelling. Source: [image-spec, Digests](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests).
package struct Digest: Hashable, Sendable, CustomStringConvertible {
    package let algorithm: DigestAlgorithm
    /// ``DigestAlgorithm/hashSize`` bytes.
    package let hash: [UInt8]

    init(algorithm: DigestAlgorithm, hash: [UInt8]) {
        precondition(hash.count == algorithm.hashSize, "a hash has the size of its algorithm")
        self.algorithm = algorithm
        self.hash = hash
    }

    /// The digest of `content`.
    package init(hashing content: some Collection<UInt8>, with algorithm: DigestAlgorithm = .sha256) {
        var digester = Digester(algorithm)
        if content.withContiguousStorageIfAvailable({ digester.update(UnsafeRawBufferPointer($0)) }) == nil {
            Array(content).withUnsafeBytes { digester.update($0) }
        }
        self = digester.finalize()
    }

    /// - Throws: ``ParseError`` `.unsupportedAlgorithm` for a well-formed digest of an algorithm that we do not have,
    ///   `.digest` for anything else.
    package init(parsing text: some StringProtocol) throws(ParseError) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { throw .digest(String(text)) }
        let name = text[..<colon]
        let encoded = text[text.utf8.index(after: colon)...]
        guard let algorithm = DigestAlgorithm(rawValue: String(name)) else {
            throw Self.isAlgorithm(name) && Self.isEncoded(encoded)
                ? .unsupportedAlgorithm(String(name)) : .digest(String(text))
        }
        guard let hash = Hexadecimal.decode(Array(encoded.utf8)), hash.count == algorithm.hashSize else {
            throw .digest(String(text))
        }
        self.init(algorithm: algorithm, hash: hash)
    }

    package var description: String { algorithm.rawValue + ":" + Hexadecimal.encode(hash) }

    /// One byte for the algorithm and the hash: 33 or 65 bytes, how a digest is stored.
    package var storageBytes: [UInt8] { [algorithm.storageCode] + hash }

    /// Nil if the bytes were not made by ``storageBytes``.
    package init?(storageBytes bytes: [UInt8]) {
        guard let algorithm = DigestAlgorithm.allCases.first(where: { $0.storageCode == bytes.first }),
            bytes.count == algorithm.hashSize + 1
        else { return nil }
        self.init(algorithm: algorithm, hash: Array(bytes.dropFirst()))
    }

    // algorithm ::= component (separator component)*, component ::= [a-z0-9]+, separator ::= [+._-]
    private static func isAlgorithm(_ text: some StringProtocol) -> Bool {
        var afterSeparator = true
        for character in text.utf8 {
            switch character {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): afterSeparator = false
            case UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                if afterSeparator { return false }
                afterSeparator = true
            default: return false
            }
        }
        return !afterSeparator
    }

    // encoded ::= [a-zA-Z0-9=_-]+
    private static func isEncoded(_ text: some StringProtocol) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy {
                $0.isLetterOrDigit || [UInt8(ascii: "="), UInt8(ascii: "_"), UInt8(ascii: "-")].contains($0)
            }
    }
}

extension UInt8 {
    var isLowerOrDigit: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self)
    }
    var isLetterOrDigit: Bool { isLowerOrDigit || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) }
}

/// The order of their storage bytes, which is also the database's.
extension Digest: Comparable {
    package static func < (one: Digest, other: Digest) -> Bool {
        one.storageBytes.lexicographicallyPrecedes(other.storageBytes)
    }
}
