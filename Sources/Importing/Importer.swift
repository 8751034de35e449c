package import Access
import BlobStorage
package import Logging
import Metadata
package import OCI
package import RegistryCore

/// What is imported, and as what.
package struct ImportSelection: Sendable {
    /// Repositories whose name matches one of these; empty for all that the source lists.
    package let repositories: [Glob]
    /// Tags that match one of these; empty for all.
    package let tags: [Glob]
    /// What the names of repositories get before them here; nil for nothing.
    package let prefix: RepositoryName?
    /// Whether a tag that exists here stays as it is.
    package let keepsTags: Bool

    package init(repositories: [Glob], tags: [Glob], prefix: RepositoryName?, keepsTags: Bool) {
        (self.repositories, self.tags, self.prefix) = (repositories, tags, prefix)
        self.keepsTags = keepsTags
    }
}

/// Brings the content of another registry into this one, by the operations that clients use: every digest is checked,
/// and every blob is stored once. It asks first what is there, so that a second run does only what is missing.
package struct Importer: Sendable {
    let registry: Registry
    let authorizer: Authorizer
    let source: SourceRegistry
    let selection: ImportSelection
    let tally: ImportTally
    let logger: Logger
    let workers: Int
    /// Tags that are walked at a time, over all repositories.
    let walkers: Slots
    /// Blobs that are downloaded at a time.
    let downloads: Slots
    let blobsInFlight = InFlight<Digest>()

    /// - Parameters:
    ///   - workers: blobs that are downloaded at a time; as many tags are walked besides.
    ///   - progress: told after every step, from any thread.
    package init(
        from source: SourceRegistry,
        into registry: Registry,
        authorizer: Authorizer,
        _ selection: ImportSelection,
        workers: Int,
        logger: Logger,
        progress: @escaping @Sendable (ImportCounts) -> Void
    ) {
        (self.source, self.registry, self.authorizer, self.selection) = (source, registry, authorizer, selection)
        (self.workers, self.logger) = (workers, logger)
        tally = ImportTally(onChange: progress)
        walkers = Slots(count: workers)
        downloads = Slots(count: workers)
    }

    /// - Returns: what was done and what was not. One repository or tag that fails stops no other.
    /// - Throws: ``SourceError`` if the source cannot be used at all.
    package func run() async throws -> ImportReport {
        try await source.probe()
        let names = try await chooseRepositories()
        tally.count { $0.repositoriesFound = names.count }
        do {
            try await forEach(names, atMost: workers) { try await importRepository($0) }
        } catch SourceError.gone(let reason) {
            tally.failed(ImportGap(repository: "", reference: nil, reason: reason))
        } catch let stop as ImportStop {
            tally.failed(ImportGap(repository: "", reference: nil, reason: stop.reason))
        }
        return tally.report
    }

    private func chooseRepositories() async throws -> [String] {
        let wanted = selection.repositories
        var names = Set(wanted.filter(\.isLiteral).map(\.text))
        guard names.isEmpty || names.count < Set(wanted).count else { return names.sorted() }
        do {
            let listed = try await source.repositories()
            names.formUnion(listed.filter { name in wanted.isEmpty || wanted.contains { $0.matches(name) } })
        } catch SourceError.notFound, SourceError.refused, SourceError.unauthorized {
            throw SourceError.refused(
                "The source does not list its repositories to us; name each of them with --repository."
            )
        }
        guard !names.isEmpty else { throw SourceError.refused("The source has no repository that was asked for.") }
        return names.sorted()
    }

    private func importRepository(_ text: String) async throws {
        defer { tally.count { $0.repositories += 1 } }
        try await recording(text, nil) {
            let name = try RepositoryName(parsing: text)
            let target = try RepositoryName(parsing: (selection.prefix.map { "\($0)/" } ?? "") + text)
            let repository = RepositoryImport(
                source: name,
                pull: try await authorizer.grant(Pull.self, on: target, to: .anonymous),
                push: try await authorizer.grant(Push.self, on: target, to: .anonymous)
            )
            let listed = try await listTags(of: name)
            let tags = listed.filter { tag in
                selection.tags.isEmpty || selection.tags.contains { $0.matches(tag) }
            }
            var chosen: Set<String> = []
            var next = tags
            repeat {
                try await importTags(next, of: repository)
                try await importMissedReferrers(in: repository)
                chosen.formUnion(next)
                // What has come may be signed itself, by a tag that is about it.
                next = listed.filter { !chosen.contains($0) && repository.isAboutComplete($0) }
            } while !next.isEmpty
            logger.info("repository imported", metadata: ["repository": "\(target)", "tags": "\(chosen.count)"])
        }
    }

    private func importTags(_ tags: [String], of repository: RepositoryImport) async throws {
        tally.count { $0.tagsFound += tags.count }
        try await forEach(tags, atMost: workers) { text in
            defer { tally.count { $0.tags += 1 } }
            try await walkers.withSlot {
                try await recording(repository.source.text, text) {
                    try await importTag(Tag(parsing: text), of: repository)
                }
            }
        }
    }

    private func listTags(of name: RepositoryName) async throws -> [String] {
        do {
            return Set(try await source.tags(of: name)).sorted()
        } catch SourceError.notFound where !selection.repositories.contains(Glob(name.text)) {
            // Listed in the catalog for its name only: everything in it was deleted.
            return []
        }
    }

    /// Notes what goes wrong for one repository or tag, and lets the others go on.
    ///
    /// - Throws: what makes all the others senseless too.
    func recording(_ repository: String, _ reference: String?, _ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as CancellationError {
            throw error
        } catch let error as ImportStop {
            throw error
        } catch SourceError.gone(let reason) {
            throw SourceError.gone(reason)
        } catch {
            if Self.isFull(error) { throw ImportStop(reason: "The storage of this registry is full.") }
            let gap = ImportGap(repository: repository, reference: reference, reason: "\(error)")
            logger.info(
                "not imported",
                metadata: [
                    "repository": "\(gap.repository)", "reference": "\(gap.reference ?? "")", "reason": "\(gap.reason)",
                ]
            )
            tally.failed(gap)
        }
    }

    private static func isFull(_ error: any Error) -> Bool {
        if case BlobStorageError.full = error { return true }
        return MetadataStore.trouble(error) == .storageFull
    }
}

/// Nothing more can be imported now.
private struct ImportStop: Error {
    let reason: String
}
