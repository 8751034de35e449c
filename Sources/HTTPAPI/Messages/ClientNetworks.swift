import NIOHTTP1

/// What is known of clients by where they are.
package struct ClientNetworks: Sendable {
    private let withoutStore: [NetworkRange]
    private let trustedProxies: [NetworkRange]

    /// - Parameters:
    ///   - withoutStore: whose clients do not reach the object store.
    ///   - trustedProxies: whose `X-Forwarded-For` is believed.
    package init(withoutStore: [NetworkRange], trustedProxies: [NetworkRange]) {
        (self.withoutStore, self.trustedProxies) = (withoutStore, trustedProxies)
    }

    func reachStore(_ request: HTTPRequest) -> Bool {
        guard !withoutStore.isEmpty else { return true }
        // Who cannot be told apart is served here: slower, but it works.
        guard let client = client(of: request) else { return false }
        return !withoutStore.contains { $0.contains(client) }
    }

    /// Whoever sent the request, as far as that is known.
    func client(of request: HTTPRequest) -> String? {
        client(request.peer, request.headers[canonicalForm: "X-Forwarded-For"].map(String.init))
    }

    /// The nearest address on the way from the client that is no trusted proxy.
    func client(_ peer: String?, _ forwarded: [String]) -> String? {
        guard var client = peer else { return nil }
        var hops = forwarded[...]
        while trustedProxies.contains(where: { $0.contains(client) }), let hop = hops.popLast() { client = hop }
        return client
    }
}
