import OCI
import Testing

private let digest = Digest(hashing: Array("{}".utf8))

@Suite("Manifest")
struct ManifestTests {
    private func decode(_ json: String, as type: String? = MediaType.imageManifest, limit: Int = .max) throws
        -> Manifest
    {
        try Manifest(decoding: Array(json.utf8), declaredType: type, maximumReferences: limit)
    }

    private let config = #""config":{"mediaType":"application/x","digest":"\#(digest)","size":2}"#

    @Test("lists its config and layers in their order, and keeps its bytes")
    func image() throws {
        let json = #"{"schemaVersion":2, \#(config), "layers":[{"mediaType":"l","digest":"\#(digest)","size":7}]}"#
        let manifest = try decode(json)
        #expect(manifest.bytes == Array(json.utf8))
        #expect(manifest.digest == Digest(hashing: Array(json.utf8)))
        #expect(manifest.blobs.map(\.size) == [2, 7])
        #expect(manifest.artifactType == "application/x")
    }

    @Test("may have null or no layers")
    func noLayers() throws {
        #expect(try decode(#"{"schemaVersion":2,\#(config)}"#).blobs.count == 1)
        #expect(try decode(#"{"schemaVersion":2,\#(config),"layers":null}"#).blobs.count == 1)
    }

    @Test("of an index lists children, and shows no artifact type of its own making")
    func index() throws {
        let json = #"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"\#(digest)","size":2}]}"#
        let manifest = try decode(json, as: MediaType.imageIndex)
        #expect(manifest.children.map(\.digest) == [digest])
        #expect(manifest.artifactType == nil)
    }

    @Test(
        "of an index lists blobs where a type says that an entry is one, as in BuildKit's older caches",
        arguments: [
            "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.buildkit.cacheconfig.v0",
        ]
    )
    func blobsOfIndex(_ type: String) throws {
        let child = #"{"mediaType":"\#(MediaType.imageManifest)","digest":"\#(digest)","size":1}"#
        let blob = #"{"mediaType":"\#(type)","digest":"\#(digest)","size":2}"#
        let manifest = try decode(
            #"{"schemaVersion":2,"manifests":[\#(blob),\#(child)]}"#,
            as: MediaType.imageIndex
        )
        #expect(manifest.blobs.map(\.size) == [2])
        #expect(manifest.children.map(\.size) == [1])
    }

    @Test("knows layers that a registry need not hold")
    func external() throws {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        let json =
            #"{"schemaVersion":2,\#(config),"layers":[{"mediaType":"\#(foreign)","digest":"\#(digest)","size":1}]}"#
        #expect(try decode(json).blobs.last?.isExternal == true)
    }

    @Test(
        "is refused with a reason when it is not one",
        arguments: [
            "", "x", "[]", "null", "{}", #"{"schemaVersion":2}"#, #"{"schemaVersion":1,"config":{}}"#,
            #"{"schemaVersion":2,"config":{"digest":"sha256:abc","size":1}}"#,
            #"{"schemaVersion":2,"config":{"digest":"\#(digest)","size":-1}}"#,
            #"{"schemaVersion":2,"config":{"digest":"\#(digest)"}}"#,
            #"{"schemaVersion":2,"config":{"digest":"\#(digest)","size":"1"}}"#,
            #"{"schemaVersion":2,"config":{"digest":"\#(digest)","size":1},"manifests":[]}"#,
            #"{"schemaVersion":2,"mediaType":"application/other","config":{"digest":"\#(digest)","size":1}}"#,
        ]
    )
    func refuses(_ json: String) {
        #expect(throws: ParseError.self) { try decode(json) }
    }

    @Test("may list as many descriptors as allowed, not one more")
    func limit() throws {
        let json = #"{"schemaVersion":2,\#(config),"layers":[{"mediaType":"l","digest":"\#(digest)","size":7}]}"#
        #expect(try decode(json, limit: 2).blobs.count == 2)
        #expect(throws: ParseError.self) { try decode(json, limit: 1) }
    }

    @Test("takes its media type from Content-Type without parameters, or from itself")
    func mediaType() throws {
        let json = #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageManifest)",\#(config)}"#
        #expect(try decode(json, as: MediaType.imageManifest + "; charset=utf-8").mediaType == MediaType.imageManifest)
        #expect(try decode(json, as: nil).mediaType == MediaType.imageManifest)
        #expect(throws: ParseError.self) { try decode(#"{"schemaVersion":2,\#(config)}"#, as: nil) }
    }
}
