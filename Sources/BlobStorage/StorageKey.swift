import OCI

/// Names an object. Random, made once and never used again: whoever deletes a key can never hit newer content.
package struct StorageKey: Hashable, Sendable, CustomStringConvertible {
    /// ``size`` of them.
    package let bytes: [UInt8]

    /// Bytes of a key.
    package static let size = 16

    package static func random() -> StorageKey {
        var generator = SystemRandomNumberGenerator()
        return StorageKey(bytes: (0..<size).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }

    package init(bytes: [UInt8]) { self.bytes = bytes }

    /// Nil unless the text is a ``description``.
    package init?(_ text: some StringProtocol) {
        guard let bytes = Hexadecimal.decode(Array(text.utf8)), bytes.count == Self.size else { return nil }
        self.bytes = bytes
    }

    package var description: String { Hexadecimal.encode(bytes) }

    /// `<first two digits>/<key>`: 256 folders, or prefixes, with evenly many objects.
    package var path: String { "\(Hexadecimal.encode(bytes.prefix(1)))/\(self)" }
}
