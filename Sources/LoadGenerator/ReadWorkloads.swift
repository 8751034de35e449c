import FoundationEssentials

/// Gets the same bytes again and again.
struct GetWorkload: Workload {
    private let path: String
    private let size: Int

    init(pulling material: Material, _ client: RegistryClient) throws {
        let repository = material.corpus.prefix + "/blobs"
        let blob = try RandomContent(size: material.blobSize).next()
        try client.push(blob, to: repository)
        try self.init(path: "/v2/\(repository)/blobs/\(blob.digest)", client)
        // Once, so that what is measured is known to be right; hashing every pull would measure us.
        let pulled = try client.get(path, keeping: material.blobSize)
        guard digest(of: pulled.body) == blob.digest else { throw LoadError("A pulled blob has the wrong bytes.") }
    }

    init(path: String, _ client: RegistryClient) throws {
        self.path = path
        size = try client.get(path).bodyLength
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        guard try client.get(path).bodyLength == size else { throw LoadError("A response has the wrong length.") }
        return size
    }
}

/// Reads manifests of the corpus in random order.
struct ManifestWorkload: Workload {
    private let method: String
    private let paths: [String]
    private let digests: [String]

    /// Most manifests that are read; a random choice where the corpus has more.
    private static let sampleSize = 10_000

    init(_ corpus: Corpus, method: String, byDigest: Bool, _ client: RegistryClient) throws {
        self.method = method
        var (paths, digests) = ([String](), [String]())
        for number in 0..<min(Self.sampleSize, corpus.manifests) {
            let isAll = corpus.manifests <= Self.sampleSize
            let index = isAll ? number : Int.random(in: 0..<corpus.manifests)
            let base = "/v2/\(corpus.repository(index))/manifests/"
            let response = try Self.find(base + corpus.tag(index), client)
            guard let digest = response.field("docker-content-digest") else {
                throw LoadError("HEAD of a manifest does not tell its digest.")
            }
            digests.append(digest)
            paths.append(base + (byDigest ? digest : corpus.tag(index)))
        }
        (self.paths, self.digests) = (paths, digests)
    }

    private static func find(_ path: String, _ client: RegistryClient) throws -> HTTPResponse {
        do {
            return try client.manifest(path, method: "HEAD")
        } catch {
            throw LoadError("\(path) cannot be read (\(error)) Run the scenario 'seed' with the same numbers first.")
        }
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let index = Int.random(in: 0..<paths.count)
        let response = try client.manifest(paths[index], method: method)
        guard response.field("docker-content-digest") == digests[index] else {
            throw LoadError("\(method) \(paths[index]) answers with another manifest.")
        }
        return response.bodyLength
    }
}

/// Reads a whole list, following its pages.
struct ListWorkload: Workload {
    private let path: String
    private let bytes: Int

    init(tagsOf corpus: Corpus, _ client: RegistryClient) throws {
        let count = (corpus.manifests - 1) / corpus.repositories + 1
        path = "/v2/\(corpus.repository(0))/tags/list?n=\(count)"
        bytes = try Self.check(path, Set((0..<count).map { "t\($0)" }), \.tags, client)
    }

    init(repositoriesOf corpus: Corpus, _ client: RegistryClient) throws {
        path = "/v2/_catalog?n=\(corpus.repositories)"
        bytes = try Self.check(path, Set((0..<corpus.repositories).map(corpus.repository)), \.repositories, client)
    }

    /// Reads the list once to see that it is whole. - Returns: its bytes.
    private static func check(
        _ path: String,
        _ expected: Set<String>,
        _ names: KeyPath<Page, [String]?>,
        _ client: RegistryClient
    ) throws -> Int {
        let (bytes, pages) = try client.list(path, keepingPages: true)
        let found = try pages.flatMap { try JSONDecoder().decode(Page.self, from: Data($0))[keyPath: names] ?? [] }
        guard expected.isSubset(of: found) else {
            throw LoadError(
                "\(path) lists \(found.count) names and not all of the \(expected.count) expected. "
                    + "Run the scenario 'seed' with the same numbers first."
            )
        }
        return bytes
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let found = try client.list(path, keepingPages: false).bytes
        guard found == bytes else { throw LoadError("\(path) has \(found) bytes instead of \(bytes).") }
        return found
    }

    private struct Page: Decodable {
        let tags: [String]?
        let repositories: [String]?
    }
}
