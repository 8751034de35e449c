import Glibc

/// An IPv4 address, an IPv6 address or a DNS name: what stands before the port.
struct NetworkHost: Hashable, Sendable, CustomStringConvertible {
    /// Without brackets.
    let text: String
    /// Whether only this machine can reach it. Of the names only `localhost` is known to be.
    let isLoopback: Bool
    private let isIPv6: Bool

    /// Nil unless the text is a host as it stands in a URL: an IPv6 address is in brackets, the others are not.
    init?(_ text: some StringProtocol) {
        if text.hasPrefix("["), text.hasSuffix("]") {
            let inner = String(text.dropFirst().dropLast())
            guard let bytes = Self.address(inner, family: AF_INET6, size: 16) else { return nil }
            self.text = inner
            isIPv6 = true
            isLoopback = Self.isLoopback(ipv6: bytes)
        } else if let bytes = Self.address(String(text), family: AF_INET, size: 4) {
            self.text = String(text)
            isIPv6 = false
            isLoopback = bytes[0] == 127
        } else {
            guard Self.isName(text) else { return nil }
            self.text = text.lowercased()
            isIPv6 = false
            isLoopback = self.text == "localhost"
        }
    }

    /// `127.0.0.1`.
    static let loopback = NetworkHost()

    private init() {
        text = "127.0.0.1"
        isLoopback = true
        isIPv6 = false
    }

    /// With the brackets that a URL needs.
    var description: String { isIPv6 ? "[\(text)]" : text }

    /// Whether this is the other host or a name below it.
    func isWithin(_ other: NetworkHost) -> Bool { text == other.text || text.hasSuffix(".\(other.text)") }

    /// `::1`, and `127.0.0.0/8` mapped into IPv6.
    private static func isLoopback(ipv6 bytes: [UInt8]) -> Bool {
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127]
        return bytes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] || bytes.starts(with: mapped)
    }

    private static func address(_ text: String, family: Int32, size: Int) -> [UInt8]? {
        guard !text.utf8.contains(0) else { return nil }
        var bytes = [UInt8](repeating: 0, count: size)
        return bytes.withUnsafeMutableBytes { inet_pton(family, text, $0.baseAddress) } == 1 ? bytes : nil
    }

    /// Labels of letters, digits and inner hyphens (RFC 1123 §2.1). The last one is not a number: that is a mistyped
    /// IPv4 address.
    private static func isName(_ text: some StringProtocol) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        let isWellFormed = labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
        }
        return isWellFormed && text.utf8.count <= 253 && labels.last?.allSatisfy(\.isNumber) == false
    }
}

/// A TCP port: decimal digits and nothing else, at most 65535.
enum NetworkPort {
    static func parse(_ text: some StringProtocol) -> Int? {
        guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
            let port = Int(text), port <= 65_535
        else { return nil }
        return port
    }
}
