/// What the workers do.
package enum Scenario: String, CaseIterable, Sendable {
    case seed
    case pushBlob = "push-blob"
    case pushBlobAtOnce = "push-blob-at-once"
    case pushImage = "push-image"
    case pushManifest = "push-manifest"
    case pullBlob = "pull-blob"
    case getManifestByTag = "get-manifest-by-tag"
    case getManifestByDigest = "get-manifest-by-digest"
    case headManifestByTag = "head-manifest-by-tag"
    case headManifestByDigest = "head-manifest-by-digest"
    case listTags = "list-tags"
    case listCatalog = "list-catalog"
    case getPath = "get-path"
    case putPath = "put-path"

    /// One operation, in a line of help.
    package var summary: String {
        switch self {
        case .seed: "push the numbered manifests that the manifest and list scenarios read; always all of them"
        case .pushBlob: "push a blob that the registry has not seen: POST and PUT"
        case .pushBlobAtOnce: "the same in one POST"
        case .pushImage: "push an image of 5 layers of 1 MiB, 3 of them there already, with config, manifest and tag"
        case .pushManifest: "push a new manifest of a config and 5 layers that are there, with a tag"
        case .pullBlob: "pull one and the same blob"
        case .getManifestByTag: "GET a manifest by a random tag"
        case .getManifestByDigest: "GET a manifest by its digest"
        case .headManifestByTag: "HEAD a manifest by a random tag"
        case .headManifestByDigest: "HEAD a manifest by its digest"
        case .listTags: "list all tags of one repository, page by page"
        case .listCatalog: "list all repositories, page by page"
        case .getPath: "GET a path of any HTTP server; a redirect is an answer too"
        case .putPath: "PUT new bytes to a path of any HTTP server, such as a signed URL of an object store"
        }
    }

    /// Whether the size of blobs makes a difference to it.
    package var dependsOnSize: Bool { [.pushBlob, .pushBlobAtOnce, .pullBlob, .putPath].contains(self) }
}

/// What scenarios work on.
package struct Material: Sendable {
    /// Bytes of a blob, for those scenarios that push or pull one.
    let blobSize: Int
    let corpus: Corpus
    /// What ``Scenario/getPath`` gets and ``Scenario/putPath`` puts to.
    let path: String

    package init(blobSize: Int, corpus: Corpus, path: String) {
        (self.blobSize, self.corpus, self.path) = (blobSize, corpus, path)
    }
}

/// A scenario that is ready to run: what it needs is in the registry.
protocol Workload: Sendable {
    /// - Parameter number: counts all operations of a run from 0.
    /// - Returns: bytes of content that went over the wire.
    func perform(_ number: Int, with client: RegistryClient) throws -> Int
}

extension Scenario {
    func workload(_ material: Material, preparedWith client: RegistryClient) throws -> any Workload {
        let corpus = material.corpus
        return switch self {
        case .seed: try SeedWorkload(corpus, client)
        case .pushBlob: try PushBlobWorkload(material, atOnce: false)
        case .pushBlobAtOnce: try PushBlobWorkload(material, atOnce: true)
        case .pushImage: try PushImageWorkload(corpus, client)
        case .pushManifest: try PushManifestWorkload(corpus, client)
        case .pullBlob: try GetWorkload(pulling: material, client)
        case .getManifestByTag: try ManifestWorkload(corpus, method: "GET", byDigest: false, client)
        case .getManifestByDigest: try ManifestWorkload(corpus, method: "GET", byDigest: true, client)
        case .headManifestByTag: try ManifestWorkload(corpus, method: "HEAD", byDigest: false, client)
        case .headManifestByDigest: try ManifestWorkload(corpus, method: "HEAD", byDigest: true, client)
        case .listTags: try ListWorkload(tagsOf: corpus, client)
        case .listCatalog: try ListWorkload(repositoriesOf: corpus, client)
        case .getPath: try GetWorkload(path: material.path, client)
        case .putPath: try PutWorkload(material)
        }
    }
}
