import Metadata
import OCI
import Retention
import SQLStore
import Testing

/// Pushes small images and asks what is there.
struct Images: Sendable {
    let store: MetadataStore
    let database: any SQLDatabase

    static let deleteAll = #"{"keep":"always","tags":["none"]},{"delete":"rest"}"#
    static let keepNewest = #"{"keep":"last","count":1,"by":"pushed"},{"delete":"rest"}"#

    static func with(
        _ engine: Engine,
        window: Duration = .zero,
        _ body: @Sendable (Images) async throws -> Void
    ) async throws {
        let promises = Promises(
            lease: .zero,
            window: window,
            upload: .seconds(60),
            blobDelay: .zero,
            trash: .zero
        )
        try await engine.withStore { _, database in
            try await body(Images(store: MetadataStore(database, promises: promises), database: database))
        }
    }

    func setRules(_ rules: String, of scope: RetentionScope = .registry) async throws {
        let policy = try RetentionPolicy(decoding: #"{"version":1,"rules":[\#(rules)]}"#.utf8)
        _ = try await store.setPolicy(policy, of: scope)
    }

    func plan(
        of repository: RepositoryName,
        reading read: @escaping ObjectReading = { _, _ in nil }
    ) async throws -> RetentionPlan {
        try #require(try await store.retentionPlan(of: repository, reading: read))
    }

    /// An image with layers that consist of their names.
    func image(
        _ layers: [String],
        _ tag: String?,
        config: String = "{}",
        subject: Digest? = nil,
        in repository: RepositoryName
    ) async throws -> Manifest {
        func upload(_ text: String) async throws -> String {
            let digest = Digest(hashing: Array(text.utf8))
            let size = text.utf8.count
            _ = try await store.commit(digest, size: Int64(size), at: .inline(Array(text.utf8)), in: repository)
            return #"{"mediaType":"text/plain","digest":"\#(digest)","size":\#(size)}"#
        }
        var descriptors: [String] = []
        for layer in layers { descriptors.append(try await upload(layer)) }
        let about = subject.map { #","subject":{"mediaType":"text/plain","digest":"\#($0)","size":1}"# } ?? ""
        let json = #"""
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":\#(try await upload(config)),"layers":[\#(descriptors.joined(separator: ","))]\#(about)}
            """#
        let manifest = try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
        try await push(manifest, tag, in: repository)
        return manifest
    }

    func index(
        _ children: [Manifest],
        _ tag: String?,
        subject: Digest? = nil,
        in repository: RepositoryName
    ) async throws -> Manifest {
        let list = children.map {
            #"{"mediaType":"\#($0.mediaType)","digest":"\#($0.digest)","size":\#($0.bytes.count)}"#
        }
        let about = subject.map { #","subject":{"mediaType":"text/plain","digest":"\#($0)","size":1}"# } ?? ""
        let json = #"""
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
            "manifests":[\#(list.joined(separator: ","))]\#(about)}
            """#
        let manifest = try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
        try await push(manifest, tag, in: repository)
        return manifest
    }

    func push(_ manifest: Manifest, _ tag: String?, in repository: RepositoryName) async throws {
        let tags = try tag.map { [try Tag(parsing: $0)] } ?? []
        let push = ManifestPush(manifest: manifest, tags: tags, condition: .none, allowsSparseIndex: false)
        try await store.put(push, in: repository)
    }

    /// Works off everything that is due, as the collector does.
    func collect() async throws {
        while try await store.collectReleasedManifests(limit: 20).hints > 0 {}
        while try await store.collectCondemnedManifest().hints > 0 {}
        while try await store.collectLinks(limit: 20).hints > 0 {}
        while try await store.collectBlobs(limit: 20).hints > 0 {}
        #expect(try await store.violations() == [])
    }

    /// Of all blobs and manifests.
    func bytes() async throws -> Int64 {
        try await database.read { db in
            let blobs = try db.run("SELECT CAST(sum(size) AS bigint) FROM blob").first?.optionalInt(0) ?? 0
            return blobs
                + (try db.run("SELECT CAST(sum(length(payload)) AS bigint) FROM manifest").first?.optionalInt(0) ?? 0)
        }
    }

    func tags(of repository: RepositoryName) async throws -> [String] {
        try await database.read { db in
            try db.run(
                """
                SELECT t.name FROM tag t JOIN repository r ON r.id = t.repo_id WHERE r.name = \(repository.text)
                ORDER BY t.name
                """
            ).map { $0.text(0) }
        }
    }

    func count(_ table: StaticString) async throws -> Int64 {
        try await database.read { try $0.run("SELECT count(*) FROM \(word: table)").first?.int(0) ?? -1 }
    }
}
