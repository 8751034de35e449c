import Metadata
import OCI
import Retention
import SQLStore
import Testing

/// A store whose promises are over at once, or never within a test.
struct CollectionFixture {
    let store: MetadataStore
    let database: any SQLDatabase

    func upload(_ text: String, to repository: RepositoryName, key: UInt8? = nil) async throws -> Digest {
        let digest = Digest(hashing: Array(text.utf8))
        var location = BlobLocation.inline(Array(text.utf8))
        if let key {
            let bytes = Array(repeating: key, count: 16)
            try await store.registerKeys([bytes])
            location = .object(bytes)
        }
        _ = try await store.commit(digest, size: Int64(text.utf8.count), at: location, in: repository)
        return digest
    }

    func image(_ config: String, _ layers: [String], subject: Digest? = nil) throws -> Manifest {
        func descriptor(_ text: String) -> String {
            #"{"mediaType":"text/plain","digest":"\#(Digest(hashing: Array(text.utf8)))","size":\#(text.utf8.count)}"#
        }
        let about = subject.map { #","subject":{"mediaType":"text/plain","digest":"\#($0)","size":1}"# } ?? ""
        let json = #"""
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":\#(descriptor(config)),
            "layers":[\#(layers.map(descriptor).joined(separator: ","))]\#(about)}
            """#
        return try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
    }

    func index(_ children: [Manifest]) throws -> Manifest {
        let list = children.map {
            #"{"mediaType":"\#($0.mediaType)","digest":"\#($0.digest)","size":\#($0.bytes.count)}"#
        }
        let json =
            #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[\#(list.joined(separator: ","))]}"#
        return try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
    }

    func push(_ manifest: Manifest, _ tag: String?, to repository: RepositoryName) async throws {
        let tags = try tag.map { [try Tag(parsing: $0)] } ?? []
        try await store.put(
            ManifestPush(manifest: manifest, tags: tags, condition: .none, allowsSparseIndex: false),
            in: repository
        )
    }

    /// Works off everything that is due, as the collector does.
    ///
    /// - Parameter age: how many days what is untagged stays; nil for ever, 0 for a day that is over.
    func collect(untagged age: Int? = nil) async throws {
        try await setUntaggedRule(days: age)
        while try await store.purgeRepository(limit: 2).hints > 0 {}
        while try await store.collectReleasedManifests(limit: 20).hints > 0 {}
        while try await store.collectCondemnedManifest().hints > 0 {}
        while try await store.collectLinks(limit: 20).hints > 0 {}
        while try await store.collectBlobs(limit: 20).hints > 0 {}
        #expect(try await store.violations() == [])
    }

    /// - Parameter age: how many days what is untagged stays; 0 for a day that is over.
    func setUntaggedRule(days age: Int?) async throws {
        let policy = try age.map {
            try RetentionPolicy(
                decoding: #"{"version":1,"rules":[{"delete":"untagged","days":\#(max($0, 1))}]}"#.utf8
            )
        }
        _ = try await store.setPolicy(policy, of: .registry)
        guard age == 0 else { return }
        try await database.write {
            try $0.run("UPDATE manifest SET created_at = created_at - 86400000, keep_until = keep_until - 86400000")
        }
    }

    func count(_ table: StaticString) async throws -> Int64 {
        try await database.read { try $0.run("SELECT count(*) FROM \(word: table)").first?.int(0) ?? -1 }
    }
}
