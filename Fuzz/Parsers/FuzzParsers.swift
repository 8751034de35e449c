import HTTPSyntax
import OCI

/// Feeds every parser of client's text the same input, chosen by its first byte; what parses must come back the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let choice = bytes.first else { return 0 }
    let text = String(decoding: bytes.dropFirst(), as: UTF8.self)
    switch choice % 6 {
    case 0:
        if let digest = try? Digest(parsing: text) { precondition(digest.description == text) }
    case 1:
        if let reference = try? Reference(parsing: text) { precondition(reference.description == text) }
    case 2:
        if let name = try? RepositoryName(parsing: text) { precondition(name.text == text && text.utf8.count <= 255) }
    case 3:
        for size in [Int64(0), 1, 10, .max] {
            if case .part(let range) = ByteRange(text, size: size) {
                precondition(!range.isEmpty && range.lowerBound >= 0 && range.upperBound <= size)
            }
        }
        if let range = ContentRange.parse(text) { precondition(range.lowerBound >= 0) }
    case 4:
        let query = QueryParameters(Substring(text))
        precondition(query.all("n").first == query["n"])
        _ = percentDecoded(Substring(text), plusIsSpace: false)
    default:
        let content = Array(bytes.dropFirst())
        if let manifest = try? Manifest(decoding: content, declaredType: nil, maximumReferences: 100) {
            precondition(manifest.bytes == content && manifest.blobs.count + manifest.children.count <= 100)
        }
    }
    return 0
}
