/// How clients reach the registry, where that is not the listening address: `https://registry.example.com`.
struct ExternalURL: Hashable, Sendable, CustomStringConvertible {
    let scheme: Scheme
    let host: NetworkHost
    /// Nil for the scheme's own port.
    let port: Int?

    enum Scheme: String, CaseIterable, Sendable { case http, https }

    /// Nil unless the text is `http(s)://host[:port]`: clients expect `/v2/` at the root, so there is no path.
    init?(_ text: some StringProtocol) {
        guard let scheme = Scheme.allCases.first(where: { text.hasPrefix("\($0.rawValue)://") }) else { return nil }
        self.scheme = scheme
        let authority = text.dropFirst("\(scheme.rawValue)://".count)
        if let host = NetworkHost(authority) {
            self.host = host
            port = nil
        } else {
            guard let address = ListenAddress(authority), address.port > 0 else { return nil }
            host = address.host
            port = address.port
        }
    }

    /// Scheme, host and port of a URL that may go on with a path, and that path.
    static func split(_ text: String) -> (origin: ExternalURL, path: Substring)? {
        guard let separator = text.firstRange(of: "://") else { return nil }
        let slash = text[separator.upperBound...].firstIndex(of: "/") ?? text.endIndex
        return ExternalURL(text[..<slash]).map { ($0, text[slash...]) }
    }

    var description: String { "\(scheme.rawValue)://\(host)" + (port.map { ":\($0)" } ?? "") }
}
