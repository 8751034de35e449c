import Access
import Logging
import Metadata
import OCI
import RegistryCore

extension Importer {
    /// Deepest index in an index.
    private static let maximumDepth = 8

    /// Makes a tag name here what it names at the source, and brings what is about it: signatures, lists of packages.
    func importTag(_ tag: Tag, of repository: RepositoryImport) async throws {
        let here = try await known(.tag(tag), in: repository)
        if let here, selection.keepsTags {
            tally.count { $0.tagsKept += 1 }
            repository.complete(here.digest)
            // An earlier run may have been stopped between the tag and what is about it.
            try await importReferrers(of: [here.digest] + here.children.map(\.digest), in: repository)
            return
        }
        var digest = try await digest(of: tag, in: repository)
        var fetched: SourceManifest?
        if digest == nil {
            fetched = try await fetch(.tag(tag), in: repository)
            digest = fetched?.digest
        }
        guard let digest else {
            tally.missing(
                ImportGap(
                    repository: repository.source.text,
                    reference: tag.text,
                    reason: "The source lists the tag but does not hold what it names."
                )
            )
            return
        }
        let isUnchanged = here?.digest == digest
        let found = try await importManifest(digest, fetched, as: isUnchanged ? [] : [tag], in: repository)
        tally.count { counts in
            if isUnchanged { counts.tagsUnchanged += 1 } else { counts.tagsImported += 1 }
        }
        try await importReferrers(of: found, in: repository)
    }

    /// Makes sure that a manifest is here, after all that it lists.
    ///
    /// - Parameters:
    ///   - fetched: the manifest, where it is had already.
    ///   - tags: what shall name it.
    /// - Returns: its digest and those of the manifests that it lists, as far as they are here.
    /// - Throws: ``SourceError`` `.notFound` if the source does not hold it.
    @discardableResult
    func importManifest(
        _ digest: Digest,
        _ fetched: SourceManifest? = nil,
        as tags: [Tag] = [],
        depth: Int = 0,
        in repository: RepositoryImport
    ) async throws -> [Digest] {
        if tags.isEmpty, repository.isComplete(digest) { return [digest] }
        guard depth <= Self.maximumDepth else {
            throw SourceError.refused("An index that lists \(digest) lies in more than \(Self.maximumDepth) others.")
        }
        return try await repository.inFlight.exclusively(digest) {
            let stored = try await known(.digest(digest), in: repository)
            let manifest: Manifest
            if let stored {
                manifest = stored
            } else {
                manifest = try decode(
                    try await fetchUnlessHad(fetched, digest, in: repository),
                    algorithm: digest.algorithm
                )
            }
            let children = try await importChildren(of: manifest, isStored: stored != nil, depth, in: repository)
            if stored == nil { try await importBlobs(of: manifest, in: repository) }
            if stored == nil || !tags.isEmpty {
                let upload = ManifestUpload(
                    bytes: manifest.bytes,
                    mediaType: manifest.mediaType,
                    reference: .digest(digest),
                    tags: tags,
                    condition: selection.keepsTags && !tags.isEmpty ? .isAbsent : .none
                )
                _ = try await registry.putManifest(upload, with: repository.push)
            }
            repository.complete(digest)
            tally.count { counts in
                if stored == nil { counts.manifestsCopied += 1 } else { counts.manifestsPresent += 1 }
            }
            return [digest] + children
        }
    }

    private func importChildren(
        of index: Manifest,
        isStored: Bool,
        _ depth: Int,
        in repository: RepositoryImport
    ) async throws -> [Digest] {
        var found: [Digest] = []
        var seen: Set<Digest> = []
        for child in index.children where seen.insert(child.digest).inserted {
            do {
                found += try await importManifest(child.digest, depth: depth + 1, in: repository)
            } catch SourceError.notFound {
                guard isStored || child.isExternal || registry.policy.allowsSparseIndex else {
                    throw SourceError.refused(
                        "The index lists \(child.digest), which the source does not hold; "
                            + "it can be imported where manifests.sparse-indexes is true."
                    )
                }
                tally.missing(
                    ImportGap(
                        repository: repository.source.text,
                        reference: "\(child.digest)",
                        reason: "The index \(index.digest) lists it, but the source does not hold it."
                    )
                )
            }
        }
        return found
    }

    /// Asks again for lists that the source did not have, if it had others: a source that has one has them all.
    func importMissedReferrers(in repository: RepositoryImport) async throws {
        // What comes with them may have none again, but each is asked for twice at most.
        while case let subjects = repository.takeSubjectsWithoutList(), !subjects.isEmpty {
            for subject in subjects {
                let found = try await importList(of: subject, isLastTry: true, in: repository)
                try await importReferrers(of: found, in: repository)
            }
        }
    }

    /// The manifests about `subjects`, and about those, and so on.
    private func importReferrers(of subjects: [Digest], in repository: RepositoryImport) async throws {
        var rest = subjects
        while let subject = rest.popLast() {
            guard repository.beginReferrers(of: subject) else { continue }
            rest += try await importList(of: subject, isLastTry: false, in: repository)
        }
    }

    /// The manifests about one. What the source lists but does not hold is told of, and so is a list that is not whole.
    ///
    /// - Returns: those that are here now.
    private func importList(of subject: Digest, isLastTry: Bool, in repository: RepositoryImport)
        async throws -> [Digest]
    {
        var rest: [Digest] = []
        for text in try await list(of: subject, isLastTry: isLastTry, in: repository) {
            var found: [Digest] = []
            try await recording(repository.source.text, text) {
                let digest = try Digest(parsing: text)
                do {
                    found = try await importManifest(digest, in: repository)
                } catch SourceError.notFound {
                    tally.missing(
                        ImportGap(
                            repository: repository.source.text,
                            reference: text,
                            reason: "The source lists it as a referrer of \(subject), but does not hold it."
                        )
                    )
                }
            }
            rest += found
        }
        return rest
    }

    /// What the source lists about a manifest, as far as it does.
    private func list(of subject: Digest, isLastTry: Bool, in repository: RepositoryImport) async throws -> [String] {
        var listed: [String] = []
        var isFirstPage = true
        try await recording(repository.source.text, "\(subject)") {
            do {
                try await source.forEachPageOfReferrers(to: subject, in: repository.source) { page in
                    repository.hasReferrers()
                    listed += page
                    isFirstPage = false
                }
            } catch let error as SourceError where error.isOfUnknownRequest && isFirstPage && !isLastTry {
                repository.hasNoList(of: subject)
            }
        }
        return listed
    }

    private func digest(of tag: Tag, in repository: RepositoryImport) async throws -> Digest? {
        do {
            return try await source.digest(of: tag, in: repository.source)
        } catch SourceError.notFound {
            return nil
        }
    }

    /// Nil if the source does not hold it.
    private func fetch(_ reference: Reference, in repository: RepositoryImport) async throws -> SourceManifest? {
        do {
            return try await source.manifest(
                reference,
                in: repository.source,
                limit: registry.policy.maximumManifestSize
            )
        } catch SourceError.notFound {
            return nil
        }
    }

    private func fetchUnlessHad(_ fetched: SourceManifest?, _ digest: Digest, in repository: RepositoryImport)
        async throws -> SourceManifest
    {
        if let fetched, fetched.digest == digest { return fetched }
        return try await source.manifest(
            .digest(digest),
            in: repository.source,
            limit: registry.policy.maximumManifestSize
        )
    }

    /// The type that stands in a manifest wins over the header's: it is hashed with the rest.
    private func decode(_ fetched: SourceManifest, algorithm: DigestAlgorithm) throws -> Manifest {
        let limit = registry.policy.maximumReferences
        do {
            return try Manifest(
                decoding: fetched.bytes,
                declaredType: nil,
                algorithm: algorithm,
                maximumReferences: limit
            )
        } catch {
            return try Manifest(
                decoding: fetched.bytes,
                declaredType: fetched.mediaType,
                algorithm: algorithm,
                maximumReferences: limit
            )
        }
    }

    /// The manifest as it is here, which stays for long enough to be named; nil if it is not.
    private func known(_ reference: Reference, in repository: RepositoryImport) async throws -> Manifest? {
        do {
            let stored = try await registry.manifest(reference, promising: true, with: repository.pull)
            return try Manifest(
                decoding: stored.bytes,
                declaredType: stored.mediaType,
                algorithm: stored.digest.algorithm
            )
        } catch let error as RegistryError where error.code == .manifestUnknown {
            return nil
        }
    }
}
