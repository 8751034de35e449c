/// Manifests whose names and content follow from their number, so that one run can push what another one reads.
///
/// Manifest `i` of `n` repositories is in repository `<prefix>-<i mod n>` as tag `t<i div n>`. Each lists the same config
/// and the same five small layers.
package struct Corpus: Hashable, Sendable {
    let prefix: String
    let repositories: Int
    let manifests: Int

    package init(prefix: String, repositories: Int, manifests: Int) throws {
        guard repositories > 0, manifests >= repositories else {
            throw LoadError("There must be a repository at least, and no more repositories than manifests.")
        }
        (self.prefix, self.repositories, self.manifests) = (prefix, repositories, manifests)
    }

    func repository(_ index: Int) -> String { "\(prefix)-\(index % repositories)" }
    func tag(_ index: Int) -> String { "t\(index / repositories)" }

    func manifest(_ index: Int) -> [UInt8] { Self.manifest(Self.config, Self.layers, named: "\(prefix) \(index)") }

    /// Puts config and layers into the first repositories, which manifests need before they can be pushed.
    func pushBlobs(toFirst count: Int, with client: RegistryClient) throws {
        for blob in [Self.config] + Self.layers {
            for index in 0..<min(count, repositories) where try !client.holds(blob, in: repository(index)) {
                if index == 0 {
                    try client.push(blob, to: repository(0))
                } else {
                    try client.mount(blob, from: repository(0), to: repository(index))
                }
            }
        }
    }

    static let config = Blob(
        Array(#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.utf8)
    )
    static let layers = (1...5).map { Blob([UInt8](repeating: $0, count: 1024)) }

    /// An image manifest; the name makes its digest differ from others of the same content.
    static func manifest(_ config: Blob, _ layers: [Blob], named name: String) -> [UInt8] {
        let descriptors = layers.map { descriptor($0, "application/vnd.oci.image.layer.v1.tar") }
        let text = """
            {"schemaVersion":2,"mediaType":"\(RegistryClient.manifestType)",\
            "config":\(descriptor(config, "application/vnd.oci.image.config.v1+json")),\
            "layers":[\(descriptors.joined(separator: ","))],"annotations":{"bench.name":"\(name)"}}
            """
        return Array(text.utf8)
    }

    private static func descriptor(_ blob: Blob, _ mediaType: String) -> String {
        #"{"mediaType":"\#(mediaType)","digest":"\#(blob.digest)","size":\#(blob.size)}"#
    }
}
