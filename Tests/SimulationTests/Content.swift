import Foundation
import OCI

/// What is pushed: few blobs and manifests, so that everybody meets everybody.
struct Content: Sendable {
    struct Blob: Sendable {
        let bytes: [UInt8]
        let digest: Digest
    }

    struct Image: Sendable {
        let manifest: Manifest
        let blobs: [Int]
        let children: [Int]
        let subject: Int?
        /// None if it names none.
        let platforms: [String]
    }

    /// The first ``objects`` are too large for the database.
    let blobs: [Blob]
    let images: [Image]

    static let objects = 4
    static let standard: Content? = try? Content()

    init() throws {
        let sizes = [17_000, 20_000, 30_000, 45_000, 900, 1_000, 40]
        let architectures = [3: "arm64", 4: "amd64", 5: "arm64"]
        let blobs = sizes.enumerated().map { index, size in
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 / 7 + $0 * index + index) }
            let text = architectures[index].map { #"{"os":"linux","architecture":"\#($0)"}"# } ?? ""
            let content = Array(text.utf8) + (text.isEmpty ? bytes : Array(repeating: UInt8(ascii: " "), count: size))
            return Blob(bytes: content, digest: Digest(hashing: content))
        }
        var images: [Image] = []
        func descriptor(_ blob: Int) -> String {
            #"{"mediaType":"text/plain","digest":"\#(blobs[blob].digest)","size":\#(blobs[blob].bytes.count)}"#
        }
        func descriptor(ofImage image: Int) -> String {
            let manifest = images[image].manifest
            let architecture = images[image].platforms.first.map {
                #","platform":{"os":"linux","architecture":"\#($0)"}"#
            }
            return #"""
                {"mediaType":"\#(manifest.mediaType)","digest":"\#(manifest.digest)",\#
                "size":\#(manifest.bytes.count)\#(architecture ?? "")}
                """#
        }
        func add(
            _ json: String,
            _ blobs: [Int],
            _ children: [Int],
            _ subject: Int?,
            _ platforms: [String]
        ) throws {
            let manifest = try Manifest(decoding: Array(json.utf8), declaredType: nil, algorithm: .sha256)
            images.append(
                Image(manifest: manifest, blobs: blobs, children: children, subject: subject, platforms: platforms)
            )
        }
        func add(image config: Int, _ layers: [Int], subject: Int? = nil) throws {
            let about = subject.map { #","subject":\#(descriptor(ofImage: $0))"# } ?? ""
            let list: [String] = layers.map { descriptor($0) }
            let json = #"""
                {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":\#(descriptor(config)),
                "layers":[\#(list.joined(separator: ","))]\#(about)}
                """#
            try add(json, [config] + layers, [], subject, [architectures[config]].compactMap(\.self))
        }
        func add(index children: [Int], subject: Int? = nil) throws {
            let about = subject.map { #","subject":\#(descriptor(ofImage: $0))"# } ?? ""
            let list = children.map { descriptor(ofImage: $0) }.joined(separator: ",")
            let type = "application/vnd.oci.image.index.v1+json"
            let platforms = Set(children.flatMap { images[$0].platforms })
            try add(
                #"{"schemaVersion":2,"mediaType":"\#(type)","manifests":[\#(list)]\#(about)}"#,
                [],
                children,
                subject,
                platforms.sorted()
            )
        }
        try add(image: 4, [0, 1])
        try add(image: 5, [0, 2])
        try add(image: 6, [3])
        try add(image: 3, [1, 4])
        try add(index: [0, 1])
        try add(index: [1, 2])
        try add(image: 6, [5], subject: 0)
        try add(index: [2, 3], subject: 2)
        (self.blobs, self.images) = (blobs, images)
    }

    /// What a manifest runs on: that of no name if it names none.
    func platforms(of manifest: Digest) -> Set<String> {
        let platforms = images.first { $0.manifest.digest == manifest }?.platforms ?? []
        return platforms.isEmpty ? [""] : Set(platforms)
    }

    /// What an index lists, and what is about a manifest.
    func dependents(of manifest: Digest) -> [Digest] {
        guard let index = images.firstIndex(where: { $0.manifest.digest == manifest }) else { return [] }
        let others = images[index].children + images.indices.filter { images[$0].subject == index }
        return others.map { images[$0].manifest.digest }
    }

    static let repositories: [RepositoryName] = ["team/app", "team/other"].compactMap {
        try? RepositoryName(parsing: $0)
    }
    static let tags: [Tag] = ["v1", "v2", "latest"].compactMap { try? Tag(parsing: $0) }
    /// Versions in their order, and what is none.
    static let versions: [Tag] = ["v9.1.0", "v10.0.0-rc.1", "v10.0.0", "latest"].compactMap { try? Tag(parsing: $0) }
}
