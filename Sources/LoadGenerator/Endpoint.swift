import FoundationEssentials

/// The registry under load: the host and the port of a plain HTTP URL.
package struct Endpoint: Hashable, Sendable {
    let host: String
    let port: Int

    package init(parsing text: String) throws {
        guard let url = URL(string: text), url.scheme == "http", let host = url.host(), !host.isEmpty else {
            throw LoadError("'\(text)' is not a URL such as http://127.0.0.1:5000; the load is plain HTTP.")
        }
        self.host = host
        self.port = url.port ?? 80
    }

    /// What a request's Host field says.
    var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
