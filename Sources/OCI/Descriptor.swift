/// Points at content: media type, digest and size in bytes. Source:
/// [image-spec, Descriptors](https://github.com/opencontainers/image-spec/blob/main/descriptor.md).
package struct Descriptor: Hashable, Sendable {
    package let mediaType: String
    package let digest: Digest
    /// Bytes.
    package let size: Int64
    /// Content that a registry need not hold: foreign layers and content with addresses of its own.
    package let isExternal: Bool

    package init(mediaType: String, digest: Digest, size: Int64, isExternal: Bool = false) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.isExternal = isExternal
    }
}
