import CLibCrypto
import OCI

/// What must be known to go on with a multipart upload.
struct S3UploadState: Hashable, Sendable {
    struct Part: Hashable, Sendable {
        /// As the store gave it, with its quotation marks.
        let tag: String
        /// Bytes.
        let size: Int64
    }

    /// Nil while everything so far is one small object.
    let upload: String?
    let parts: [Part]
    /// Bytes behind the parts, in an object of their own.
    let tail: Int64

    init(upload: String?, parts: [Part], tail: Int64) {
        (self.upload, self.parts, self.tail) = (upload, parts, tail)
    }

    /// The entity tag of an object of these parts, by AWS's rule: the MD5 of the parts' own, and their number. Nil if these
    /// are no hashes.
    static func tag(of parts: [Part]) -> String? {
        var hashes: [UInt8] = []
        for part in parts {
            guard let hash = Hexadecimal.decode(part.tag.utf8.filter { $0 != UInt8(ascii: "\"") }) else { return nil }
            hashes += hash
        }
        var hash = [UInt8](repeating: 0, count: 16)
        guard EVP_Digest(hashes, hashes.count, &hash, nil, EVP_md5(), nil) == 1 else { return nil }
        return "\"\(Hexadecimal.encode(hash))-\(parts.count)\""
    }

    /// Lines of text: a format number, the tail's size, the upload, and for each part its size and tag.
    var bytes: [UInt8] {
        let lines = ["1", "\(tail)", upload ?? ""] + parts.map { "\($0.size) \($0.tag)" }
        return Array(lines.joined(separator: "\n").utf8)
    }

    /// Nil for anything that is not ``bytes``.
    init?(_ bytes: [UInt8]) {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 3, lines[0] == "1", let tail = Int64(lines[1]) else { return nil }
        var parts: [Part] = []
        for line in lines.dropFirst(3) {
            let words = line.split(separator: " ", maxSplits: 1)
            guard words.count == 2, let size = Int64(words[0]) else { return nil }
            parts.append(Part(tag: String(words[1]), size: size))
        }
        self.init(upload: lines[2].isEmpty ? nil : String(lines[2]), parts: parts, tail: tail)
    }
}
