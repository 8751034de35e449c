import Glibc

/// Why no connections can be accepted at an address: for the operator.
package struct ListenError: Error, CustomStringConvertible {
    private let address: String
    private let reason: String

    /// - Parameter code: what `bind` failed with.
    init(host: String, port: Int, code: CInt) {
        address = Self.address(host, port)
        reason =
            switch code {
            case EADDRINUSE:
                "another program listens there already. Stop that, or choose another port with 'listen'"
            case EADDRNOTAVAIL:
                "no network interface of this machine has that address. Choose one that it has with 'listen', or 0.0.0.0 "
                    + "for all"
            case EACCES:
                "this user may not listen on that port. Choose one from 1024 on with 'listen', or give the program "
                    + "CAP_NET_BIND_SERVICE"
            default: "\(String(cString: strerror(code))). Choose another address with 'listen'"
            }
    }

    /// A name that nobody knows.
    init(unknown host: String, port: Int) {
        address = Self.address(host, port)
        reason = "no address of that name is known. Correct 'listen'"
    }

    private static func address(_ host: String, _ port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    package var description: String { "Nothing can be served at \(address): \(reason)." }
}
