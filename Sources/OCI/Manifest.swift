import FoundationEssentials

/// A pushed manifest: its exact bytes and what a registry acts on.
/// Sources: [image manifest](https://github.com/opencontainers/image-spec/blob/main/manifest.md),
/// [image index](https://github.com/opencontainers/image-spec/blob/main/image-index.md).
package struct Manifest: Sendable {
    package enum Kind: Sendable { case image, index, other }

    /// As pushed, and as pulled.
    package let bytes: [UInt8]
    package let digest: Digest
    package let mediaType: String
    package let kind: Kind
    /// Config and layers, in the manifest's order; may repeat. Of an index, what it lists that is no manifest by its type.
    package let blobs: [Descriptor]
    /// Manifests that an index lists, in its order; may repeat.
    package let children: [Descriptor]
    package let subject: Digest?
    /// What referrers lists show: `artifactType`, or for an image manifest without one its config's media type.
    package let artifactType: String?
    package let annotations: [String: String]

    /// - Parameters:
    ///   - declaredType: the request's `Content-Type`, or nil if it had none.
    ///   - algorithm: what to hash with: the one of the digest that the client pushes to.
    ///   - maximumReferences: most descriptors (config, layers and children together).
    /// - Throws: ``ParseError`` `.manifest` with the reason.
    package init(
        decoding bytes: [UInt8],
        declaredType: String?,
        algorithm: DigestAlgorithm = .sha256,
        maximumReferences: Int = .max
    ) throws(ParseError) {
        let document = try Self.decode(bytes)
        let mediaType = try Self.mediaType(declaredType, document)
        let kind = try Self.kind(of: document, mediaType: mediaType)
        let count = (document.layers?.count ?? 0) + (document.blobs?.count ?? 0) + (document.manifests?.count ?? 0) + 1
        guard count <= maximumReferences || maximumReferences == .max else {
            throw .manifest("The manifest lists \(count) descriptors; at most \(maximumReferences) are accepted.")
        }
        var blobs: [Descriptor] = []
        var children: [Descriptor] = []
        if kind == .index {
            for item in document.manifests ?? [] {
                let entry = try item.descriptor("manifests")
                if MediaType.isOfBlobInIndex(entry.mediaType) { blobs.append(entry) } else { children.append(entry) }
            }
        } else {
            if let config = document.config { blobs.append(try config.descriptor("config")) }
            for layer in (document.layers ?? []) + (document.blobs ?? []) {
                blobs.append(try layer.descriptor("layers"))
            }
        }
        self.bytes = bytes
        self.digest = Digest(hashing: bytes, with: algorithm)
        self.mediaType = mediaType
        self.kind = kind
        self.blobs = blobs
        self.children = children
        self.subject = try document.subject?.descriptor("subject").digest
        let configType = kind == .image ? document.config?.mediaType : nil
        self.artifactType = [document.artifactType, configType].compactMap { $0 }.first { !$0.isEmpty }
        self.annotations = document.annotations ?? [:]
    }

    private static func decode(_ bytes: [UInt8]) throws(ParseError) -> Document {
        do {
            return try JSONDecoder().decode(Document.self, from: Data(bytes))
        } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context) {
            throw .manifest("The manifest's \(Self.path(context)) has the wrong type.")
        } catch DecodingError.keyNotFound(let key, let context) {
            throw .manifest("The manifest's \(Self.path(context)) lacks '\(key.stringValue)'.")
        } catch {
            throw .manifest("The manifest is not a JSON object.")
        }
    }

    private static func path(_ context: DecodingError.Context) -> String {
        context.codingPath.isEmpty
            ? "top level" : "'" + context.codingPath.map(\.stringValue).joined(separator: ".") + "'"
    }

    private static func mediaType(_ declared: String?, _ document: Document) throws(ParseError) -> String {
        let inside = document.mediaType.flatMap { $0.isEmpty ? nil : $0 }
        guard let given = declared ?? inside else {
            throw .manifest("Send a Content-Type: the manifest does not say its mediaType itself.")
        }
        guard let type = MediaType.parse(given) else { throw .manifest("'\(given.prefix(100))' is not a media type.") }
        if let inside, MediaType.parse(inside) != type {
            throw .manifest("The manifest's mediaType is '\(inside.prefix(100))' but its Content-Type '\(type)'.")
        }
        return type
    }

    private static func kind(of document: Document, mediaType: String) throws(ParseError) -> Kind {
        switch mediaType {
        case MediaType.imageManifest, MediaType.dockerManifest:
            guard document.schemaVersion == 2 else { throw .manifest("The manifest's schemaVersion must be 2.") }
            guard document.config != nil else { throw .manifest("The manifest lacks 'config'.") }
            guard document.manifests == nil else {
                throw .manifest("An image manifest cannot list 'manifests'; that is an index.")
            }
            return .image
        case MediaType.imageIndex, MediaType.dockerManifestList:
            guard document.schemaVersion == 2 else { throw .manifest("The index's schemaVersion must be 2.") }
            guard document.layers == nil, document.config == nil else {
                throw .manifest("An index cannot list 'config' or 'layers'; that is an image manifest.")
            }
            return .index
        default:
            guard document.schemaVersion != 1 else {
                throw .manifest("Docker schema 1 manifests are not supported; push with a client from 2017 or later.")
            }
            if document.manifests != nil { return .index }
            return document.config != nil ? .image : .other
        }
    }
}

/// What is decoded of a manifest's JSON; everything else is kept as bytes only.
private struct Document: Decodable {
    var schemaVersion: Int?
    var mediaType: String?
    var artifactType: String?
    var config: Item?
    var layers: [Item]?
    var blobs: [Item]?
    var manifests: [Item]?
    var subject: Item?
    var annotations: [String: String]?

    struct Item: Decodable {
        var mediaType: String?
        var digest: String
        var size: Int64
        var urls: [String]?

        func descriptor(_ place: String) throws(ParseError) -> Descriptor {
            guard size >= 0 else { throw .manifest("A descriptor in '\(place)' has a negative size.") }
            let digest: Digest
            do {
                digest = try Digest(parsing: self.digest)
            } catch {
                throw .manifest("A descriptor in '\(place)' is wrong: \(error)")
            }
            let type = mediaType ?? ""
            let external = MediaType.isNonDistributable(type) || !(urls ?? []).isEmpty
            return Descriptor(mediaType: type, digest: digest, size: size, isExternal: external)
        }
    }
}
