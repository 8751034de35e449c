struct PushBlobWorkload: Workload {
    private let content: RandomContent
    private let repository: String
    private let atOnce: Bool

    init(_ material: Material, atOnce: Bool) throws {
        content = try RandomContent(size: material.blobSize)
        repository = material.corpus.prefix + "/blobs"
        self.atOnce = atOnce
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let blob = content.next()
        try atOnce ? client.pushAtOnce(blob, to: repository) : client.push(blob, to: repository)
        return blob.size
    }
}

/// What a push costs without a registry.
struct PutWorkload: Workload {
    private let content: RandomContent
    private let path: String

    init(_ material: Material) throws {
        content = try RandomContent(size: material.blobSize)
        path = material.path
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let blob = content.next()
        try client.put(blob, at: path)
        return blob.size
    }
}

/// Asks for each layer first, as clients do, and pushes those that are missing.
struct PushImageWorkload: Workload {
    private let reused: [Blob]
    private let layers: RandomContent
    private let configs: RandomContent
    private let repository: String

    init(_ corpus: Corpus, _ client: RegistryClient) throws {
        layers = try RandomContent(size: 1024 * 1024)
        configs = try RandomContent(size: 4096)
        repository = corpus.prefix + "/images"
        reused = (0..<3).map { [layers] _ in layers.next() }
        for blob in reused { try client.push(blob, to: repository) }
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let layers = reused + [layers.next(), layers.next()]
        let config = configs.next()
        var bytes = 0
        for blob in layers + [config] where try !client.holds(blob, in: repository) {
            try client.push(blob, to: repository)
            bytes += blob.size
        }
        let manifest = Corpus.manifest(config, layers, named: "")
        try client.push(manifest: manifest, to: repository, as: uniqueTag())
        return bytes + manifest.count
    }
}

struct PushManifestWorkload: Workload {
    private let corpus: Corpus

    /// Repositories that pushes go to in turn.
    private static let spread = 50

    init(_ corpus: Corpus, _ client: RegistryClient) throws {
        self.corpus = corpus
        try corpus.pushBlobs(toFirst: Self.spread, with: client)
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let tag = uniqueTag()
        let manifest = Corpus.manifest(Corpus.config, Corpus.layers, named: tag)
        let repository = corpus.repository(number % min(Self.spread, corpus.repositories))
        try client.push(manifest: manifest, to: repository, as: tag)
        return manifest.count
    }
}

struct SeedWorkload: Workload {
    private let corpus: Corpus

    init(_ corpus: Corpus, _ client: RegistryClient) throws {
        self.corpus = corpus
        try corpus.pushBlobs(toFirst: corpus.repositories, with: client)
    }

    func perform(_ number: Int, with client: RegistryClient) throws -> Int {
        let manifest = corpus.manifest(number)
        try client.push(manifest: manifest, to: corpus.repository(number), as: corpus.tag(number))
        return manifest.count
    }
}

private func uniqueTag() -> String { "u" + String(UInt64.random(in: .min ... .max), radix: 36) }
