/// Where an S3-compatible store is and how it wants to be used.
package struct S3Configuration: Hashable, Sendable {
    /// `https` or `http`.
    package var scheme: String
    package var host: String
    /// Nil for the scheme's own.
    package var port: Int?
    package var region: String
    package var bucket: String
    /// Put before every key; empty, or without a slash at its start and with one at its end.
    package var prefix: String
    /// Whether the bucket is the first part of the path, or of the host name.
    package var usesPathStyle: Bool
    /// Whether all parts of an object but the last must have the same size (Cloudflare R2).
    package var hasEqualParts: Bool
    /// Bytes that all uploads of this process may hold in memory together.
    package var uploadMemory: Int
    /// Most requests to the store at the same time.
    package var connections: Int

    package init(
        scheme: String,
        host: String,
        port: Int? = nil,
        region: String,
        bucket: String,
        prefix: String = "",
        usesPathStyle: Bool = true,
        hasEqualParts: Bool = false,
        uploadMemory: Int = 1 << 30,
        connections: Int = 128
    ) {
        (self.scheme, self.host, self.port, self.region, self.bucket) = (scheme, host, port, region, bucket)
        (self.prefix, self.usesPathStyle, self.hasEqualParts) = (prefix, usesPathStyle, hasEqualParts)
        (self.uploadMemory, self.connections) = (uploadMemory, connections)
    }

    /// With the port, if it is not the scheme's own: as `Host` says it, and as it is signed.
    var authority: String {
        let name = usesPathStyle ? host : "\(bucket).\(host)"
        guard let port, port != (scheme == "https" ? 443 : 80) else { return name }
        return "\(name):\(port)"
    }

    /// - Parameter name: of an object, prefix and all; nil for the bucket itself.
    func path(_ name: String?) -> String { (usesPathStyle ? "/\(bucket)" : "") + (name.map { "/\($0)" } ?? "/") }

    func name(of key: StorageKey) -> String { prefix + key.path }
}
