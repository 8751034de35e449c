import HTTPSyntax
import OCI
import Retention

/// Feeds every parser of client's text the same input, chosen by its first byte; what parses must come back the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let choice = bytes.first else { return 0 }
    let text = String(decoding: bytes.dropFirst(), as: UTF8.self)
    switch choice % 8 {
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
    case 5:
        let content = Array(bytes.dropFirst())
        if let manifest = try? Manifest(decoding: content, declaredType: nil, maximumReferences: 100) {
            precondition(manifest.bytes == content && manifest.blobs.count + manifest.children.count <= 100)
        }
    case 6:
        if let policy = try? RetentionPolicy(decoding: bytes.dropFirst()) {
            let again = try? RetentionPolicy(decoding: policy.canonical.utf8)
            precondition(again == policy && again?.canonical == policy.canonical)
        }
    default: matchPattern(text)
    }
    return 0
}

/// The first line is a pattern for tags, the second a tag.
private func matchPattern(_ text: String) {
    let lines = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = lines.first, let last = lines.last else { return }
    if let pattern = try? TagPattern(parsing: String(first)) {
        precondition(pattern.description == first)
        if let tag = try? Tag(parsing: last) { _ = pattern.matches(tag) }
    }
    let name = String(last.prefix(128))
    precondition(Glob("*").matches(name) && Glob("**?").matches(name) == !name.isEmpty)
    let glob = Glob(String(first))
    if glob.isLiteral {
        precondition(glob.matches(name) == (Array(first.unicodeScalars) == Array(name.unicodeScalars)))
    }
    if glob.matches(name) { precondition(Glob(glob.text + "*").matches(name + "x")) }
}
