import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import OCI

/// A manifest as the source sends it.
struct SourceManifest: Sendable {
    let digest: Digest
    /// `Content-Type`; nil if it is none.
    let mediaType: String?
    let bytes: [UInt8]
}

extension SourceRegistry {
    /// Items of a page of a list. Registries that have a limit of their own allow this many; each tag costs a request
    /// anyway.
    private static let pageSize = 100
    /// Most bytes of a page.
    private static let maximumPage = 16 << 20
    /// Most pages of a list, in case that it leads in a circle.
    private static let maximumPages = 100_000
    /// Every kind of manifest: a registry converts, or refuses, what a client does not name.
    private static let accept = [
        MediaType.imageIndex, MediaType.dockerManifestList, MediaType.imageManifest, MediaType.dockerManifest,
        "application/vnd.oci.artifact.manifest.v1+json", "*/*",
    ].joined(separator: ", ")

    /// What the media types of manifests begin with that are stored nowhere today.
    private static let oldManifests = "application/vnd.docker.distribution.manifest.v1"

    /// Asks whether there is a registry that we may use. Fails soon: nothing depends on it yet.
    package func probe() async throws {
        let request = Request(url: origin.with(target: "/v2/"), scope: .base, subject: "the base of its API, /v2/")
        _ = try await collect(request, limit: Self.maximumPage, tries: 2)
    }

    /// The names of all repositories, as the source spells them.
    func repositories() async throws -> [String] {
        struct Page: Decodable { var repositories: [String]? }
        var names: [String] = []
        try await forEachPage("/v2/_catalog", .catalog, "its list of repositories, _catalog") { answer in
            names += try answer.decode(Page.self).repositories ?? []
        }
        return names
    }

    func tags(of repository: RepositoryName) async throws -> [String] {
        struct Page: Decodable { var tags: [String]? }
        var names: [String] = []
        let scope = SourceScope.pull(repository: repository.text)
        try await forEachPage("/v2/\(repository)/tags/list", scope, "the repository \(repository)") { answer in
            names += try answer.decode(Page.self).tags ?? []
        }
        return names
    }

    /// What a tag names, without fetching it; nil if the source does not say.
    func digest(of tag: Tag, in repository: RepositoryName) async throws -> Digest? {
        var request = manifestRequest(.tag(tag), in: repository)
        request.method = .HEAD
        do {
            return Self.digest(try await collect(request, limit: Self.maximumPage).headers)
        } catch SourceError.refused {
            return nil
        }
    }

    /// - Parameter limit: most bytes.
    /// - Throws: ``SourceError``, also if the bytes are not those that the digest names.
    func manifest(_ reference: Reference, in repository: RepositoryName, limit: Int) async throws -> SourceManifest {
        let answer = try await collect(manifestRequest(reference, in: repository), limit: limit)
        let type = answer.headers.first(name: "Content-Type").flatMap { MediaType.parse($0) }
        // Their digest is not that of their bytes.
        guard type?.hasPrefix(Self.oldManifests) != true else {
            throw SourceError.refused(
                "It is a Docker schema 1 manifest, which cannot be imported; push it with a client from 2017 or later."
            )
        }
        let bytes = Array(answer.body.readableBytesView)
        let said: Digest?
        if case .digest(let digest) = reference { said = digest } else { said = Self.digest(answer.headers) }
        let found = Digest(hashing: bytes, with: said?.algorithm ?? .sha256)
        guard said == nil || said == found else {
            throw SourceError.refused(
                "The source's manifest \(reference) has the digest \(found); it is damaged there."
            )
        }
        return SourceManifest(digest: found, mediaType: type, bytes: bytes)
    }

    /// Pages of what the source lists of the manifests about another one.
    func forEachPageOfReferrers(
        to subject: Digest,
        in repository: RepositoryName,
        _ body: ([String]) -> Void
    ) async throws {
        struct Page: Decodable {
            struct Item: Decodable { var digest: String }
            var manifests: [Item]?
        }
        let scope = SourceScope.pull(repository: repository.text)
        let path = "/v2/\(repository)/referrers/\(subject)"
        try await forEachPage(path, scope, sized: false, "the referrers of \(subject)") { answer in
            body(try answer.decode(Page.self).manifests?.map(\.digest) ?? [])
        }
    }

    func blobRequest(_ digest: Digest, in repository: RepositoryName, from offset: Int64) -> Request {
        Request(
            url: origin.with(target: "/v2/\(repository)/blobs/\(digest)"),
            scope: .pull(repository: repository.text),
            headers: offset > 0 ? [("Range", "bytes=\(offset)-")] : [],
            subject: "the blob \(digest)"
        )
    }

    private func manifestRequest(_ reference: Reference, in repository: RepositoryName) -> Request {
        Request(
            url: origin.with(target: "/v2/\(repository)/manifests/\(reference)"),
            scope: .pull(repository: repository.text),
            headers: [("Accept", Self.accept)],
            subject: "the manifest \(reference)"
        )
    }

    private static func digest(_ headers: HTTPHeaders) -> Digest? {
        // One that we cannot read is as good as none: the bytes are hashed anyway.
        headers.first(name: "Docker-Content-Digest").flatMap { try? Digest(parsing: $0) }
    }

    /// - Parameter sized: whether to ask for pages of our size, which not every registry allows.
    private func forEachPage(
        _ path: String,
        _ scope: SourceScope,
        sized: Bool = true,
        _ subject: String,
        _ body: (Answer) throws -> Void
    ) async throws {
        var url = origin.with(target: sized ? "\(path)?n=\(Self.pageSize)" : path)
        for number in 0..<Self.maximumPages {
            let answer: Answer
            do {
                answer = try await collect(Request(url: url, scope: scope, subject: subject), limit: Self.maximumPage)
            } catch SourceError.refused where sized && number == 0 {
                return try await forEachPage(path, scope, sized: false, subject, body)
            }
            do {
                try body(answer)
            } catch is DecodingError {
                throw SourceError.refused("The source's answer for \(subject) is not the JSON that it should be.")
            }
            guard let next = url.next(answer.headers["Link"]) else { return }
            guard next != url else { break }
            url = next
        }
        throw SourceError.refused("The source's list for \(subject) has no end.")
    }
}
