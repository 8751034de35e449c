import Glibc

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
package struct NetworkRange: Hashable, Sendable, CustomStringConvertible {
    private let text: String
    /// 16 bytes; an IPv4 address is mapped into IPv6 (RFC 4291, 2.5.5.2).
    private let address: [UInt8]
    private let prefix: Int

    /// Nil unless the text is an address, perhaps with `/` and the length of its network's prefix.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = Self.bytes(String(first)) else { return nil }
        let isIPv4 = !first.contains(":")
        var prefix = 128
        if parts.count == 2 {
            guard let length = Int(parts[1]), (0...(isIPv4 ? 32 : 128)).contains(length) else { return nil }
            prefix = isIPv4 ? 96 + length : length
        }
        (self.text, self.address, self.prefix) = (String(text), address, prefix)
    }

    package var description: String { text }

    /// - Parameter text: an address as `X-Forwarded-For` or a socket gives it.
    package func contains(_ text: String) -> Bool {
        guard let other = Self.bytes(text) else { return false }
        let whole = prefix / 8
        guard other[..<whole] == address[..<whole] else { return false }
        guard prefix % 8 > 0 else { return true }
        return (other[whole] ^ address[whole]) >> (8 - prefix % 8) == 0
    }

    private static func bytes(_ text: String) -> [UInt8]? {
        guard !text.utf8.contains(0) else { return nil }
        var four = [UInt8](repeating: 0, count: 4)
        if inet_pton(AF_INET, text, &four) == 1 { return [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + four }
        var sixteen = [UInt8](repeating: 0, count: 16)
        return inet_pton(AF_INET6, text, &sixteen) == 1 ? sixteen : nil
    }
}
