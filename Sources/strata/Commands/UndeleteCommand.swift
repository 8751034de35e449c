import ArgumentParser
import Foundation
import Metadata
import OCI

struct UndeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "undelete",
        abstract: "Put back a deleted tag, manifest or repository.",
        discussion: """
            What was deleted can be put back for as long as its content was promised to clients (`promises.window`). A tag \
            comes back with its manifest; a manifest with those that it lists, those that are about it and the tags that \
            were deleted with it; a repository whole. May run beside the server.

            EXAMPLES
              strata undelete team/app v1.4.0
              strata undelete team/app sha256:4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a
              strata undelete team/app
              strata undelete --list team/app
              strata undelete --list
            """
    )

    @Argument(help: "The repository.")
    var repository: String?

    @Argument(help: "A tag or a digest; without one, the repository itself is put back.")
    var reference: String?

    @Option(help: "Of several repositories of that name, the one that was deleted then, as --list says.")
    var deletedAt: Int64?

    @Flag(help: "Change nothing: list what can be put back, in the repository or of repositories.")
    var list = false

    @Flag(help: "Print a JSON object, with --list one a line; times are milliseconds since 1970.")
    var json = false

    @OptionGroup var options: ConfigurationOptions

    func validate() throws {
        if list, reference != nil { throw ValidationError("--list is followed by a repository at most.") }
        if deletedAt != nil, list || reference != nil { throw ValidationError("--deleted-at says which repository.") }
        if !list, repository == nil { throw ValidationError("Say which repository, or --list.") }
    }

    func run() async throws {
        let name: RepositoryName?
        let wanted: Reference?
        do {
            name = try repository.map { (text: String) throws(ParseError) in try RepositoryName(parsing: text) }
            wanted = try reference.map { (text: String) throws(ParseError) in try Reference(parsing: text) }
        } catch { throw ValidationError("\(error)") }
        try await options.withStores { composition in
            try await inPlainWords {
                switch (name, wanted) {
                case (let name?, let wanted?): try await restore(wanted, in: name, composition.metadata)
                case (let name?, nil) where list: try await show(name, composition.metadata)
                case (let name?, nil): try await restore(name, composition.metadata)
                case (nil, _): try await showRepositories(composition.metadata)
                }
            }
        }
    }

    private func restore(_ reference: Reference, in name: RepositoryName, _ metadata: MetadataStore) async throws {
        let restored = try await metadata.restore(reference, in: name)
        let report = Report(
            repository: name.text,
            tags: restored.tags.map(\.text),
            manifests: restored.manifests.map(\.description)
        )
        if json { return try printJSON(report) }
        for tag in restored.tags { print("put back the tag \(tag)") }
        for digest in restored.manifests { print("put back the manifest \(digest)") }
        for tag in restored.tagsOfRules {
            print(
                """
                A rule had deleted \(tag). It counts as pushed now, and the rules will judge it again; a hold keeps it:
                  strata hold set \(name) \(tag) --reason ...
                """
            )
        }
    }

    private func restore(_ name: RepositoryName, _ metadata: MetadataStore) async throws {
        try await metadata.restoreRepository(name, deletedAt: deletedAt)
        if json { return try printJSON(Report(repository: name.text)) }
        print("put back the repository \(name)")
    }

    private func show(_ name: RepositoryName, _ metadata: MetadataStore) async throws {
        var last: DeletedEntry.Key?
        repeat {
            let page = try await metadata.deletedEntries(in: name, after: last, limit: Self.page)
            for entry in page {
                if json {
                    try printJSON(entry)
                } else {
                    let what = entry.tag.map { "the tag \($0) of \(entry.digest)" } ?? "the manifest \(entry.digest)"
                    print("\(what), until \(entry.restorableUntil.shownAsTime): \(entry.reason)")
                }
            }
            last = page.count < Self.page ? nil : page.last?.key
        } while last != nil
    }

    private func showRepositories(_ metadata: MetadataStore) async throws {
        var last: DeletedRepository.Key?
        repeat {
            let page = try await metadata.deletedRepositories(after: last, limit: Self.page)
            for entry in page {
                if json {
                    try printJSON(entry)
                } else {
                    let until = entry.restorableUntil.shownAsTime
                    print("the repository \(entry.name), deleted at \(entry.deletedAt), until \(until)")
                }
            }
            last = page.count < Self.page ? nil : page.last?.key
        } while last != nil
    }

    /// Entries that are asked for at a time.
    private static let page = 500

    private struct Report: Encodable {
        let repository: String
        var tags: [String]?
        var manifests: [String]?
    }
}
