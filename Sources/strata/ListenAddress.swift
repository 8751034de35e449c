/// Where the server accepts connections: `127.0.0.1:5000`, `[::1]:5000`, `localhost:5000`.
struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    let host: NetworkHost
    /// 0 for any free port.
    let port: Int

    init?(_ text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":"), let host = NetworkHost(text[..<colon]),
            let port = NetworkPort.parse(text[text.index(after: colon)...])
        else { return nil }
        self.host = host
        self.port = port
    }

    private init(host: NetworkHost, port: Int) {
        self.host = host
        self.port = port
    }

    var description: String { "\(host):\(port)" }

    /// Only this machine, on the port that registries are used to.
    static let standard = ListenAddress(host: .loopback, port: 5000)
}
