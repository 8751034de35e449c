import OCI
import SQLStore

/// Reads an object of so many bytes by its storage key; nil if it is not there.
package typealias ObjectReading = @Sendable (_ key: [UInt8], _ size: Int64) async throws -> [UInt8]?

/// An image's configuration that is an object, and of which nobody has read yet what it runs on.
struct UnreadConfiguration: Hashable, Sendable {
    let digest: Digest
    let key: [UInt8]
    /// Bytes.
    let size: Int64
}

extension MetadataStore {
    /// Most bytes of a configuration that is read: as many as of a manifest. What is larger is no image's, or says more of
    /// it than anybody needs.
    package static let maximumConfigurationSize: Int64 = 4 << 20

    /// Most configurations that are in memory at a time.
    private static let concurrentReadings = 8
    /// Of which as many are written down in one transaction.
    private static let batch = 64

    /// Writes down what images run on. A digest stands for the same bytes for ever, so each configuration is read once.
    func readPlatforms(of configurations: [UnreadConfiguration], _ read: @escaping ObjectReading) async throws {
        for some in configurations.chunked(by: Self.batch) {
            let found = try await withThrowingTaskGroup(of: (Digest, String)?.self) { group in
                var found: [(digest: Digest, platform: String)] = []
                for (index, configuration) in some.enumerated() {
                    if index >= Self.concurrentReadings, let one = try await group.next() ?? nil { found.append(one) }
                    group.addTask { try await Self.platform(of: configuration, read) }
                }
                for try await one in group { if let one { found.append(one) } }
                return found
            }
            try await database.write { db in
                for (digest, platform) in found.sorted(by: { $0.digest < $1.digest }) {
                    try db.start("UPDATE blob SET platform = \(platform) WHERE digest = \(digest)")
                }
            }
        }
    }

    /// - Returns: nil if the object is not there, or is not what it was.
    private static func platform(of configuration: UnreadConfiguration, _ read: ObjectReading) async throws
        -> (Digest, String)?
    {
        guard let bytes = try await read(configuration.key, configuration.size),
            Digest(hashing: bytes, with: configuration.digest.algorithm) == configuration.digest
        else { return nil }
        return (configuration.digest, Platforms.platform(ofConfiguration: bytes) ?? "")
    }
}

extension SQLTransaction {
    /// What manifests run on: an index says it of each manifest that it lists, an image in its configuration. A large
    /// configuration is an object, which nobody waits for here.
    ///
    /// - Returns: the platforms by manifest, as far as they are known, and the configurations that are still to be read.
    func platforms(ofManifests ids: [Int64]) throws -> ([Int64: [String]], unread: Set<UnreadConfiguration>) {
        var found: [Int64: [String]] = [:]
        var unread: Set<UnreadConfiguration> = []
        // Some at a time, so that few manifests are in memory.
        for some in ids.chunked(by: Self.manifestsAtATime) {
            var configurations: [(manifest: Int64, digest: Digest)] = []
            for row in try inBatches(some, { "SELECT id, payload FROM manifest WHERE id IN \(list: $0)" }) {
                switch Platforms(ofManifest: row.bytes(1)) {
                case .listed(let platforms): found[row.int(0)] = platforms
                case .inConfiguration(let digest): configurations.append((row.int(0), digest))
                }
            }
            let known = try configurationRows(Set(configurations.map(\.digest)).sorted())
            for (manifest, digest) in configurations {
                guard let row = known[digest] else { continue }
                if let data = row.optionalBytes(1) {
                    found[manifest] = Platforms.platform(ofConfiguration: data).map { [$0] } ?? []
                } else if let platform = row.optionalText(2), !Platforms.mayLackBuild(platform) {
                    found[manifest] = platform.isEmpty ? [] : [platform]
                } else if let key = row.optionalBytes(3), row.int(4) <= MetadataStore.maximumConfigurationSize {
                    unread.insert(UnreadConfiguration(digest: digest, key: key, size: row.int(4)))
                }
            }
        }
        return (found, unread)
    }

    private static var manifestsAtATime: Int { 256 }

    private func configurationRows(_ digests: [Digest]) throws -> [Digest: SQLRow] {
        let rows = try inBatches(digests) {
            """
            SELECT b.digest, i.data, b.platform, c.skey, b.size FROM blob b
            LEFT JOIN blob_inline i ON i.digest = b.digest LEFT JOIN blob_copy c ON c.digest = b.digest
            WHERE b.digest IN \(list: $0)
            """
        }
        return Dictionary(rows.map { ($0.digest(0), $0) }, uniquingKeysWith: { first, _ in first })
    }
}
