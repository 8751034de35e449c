import CLibCrypto

/// The digest of some bytes, as registries write it.
func digest(of bytes: [UInt8]) -> String {
    var hash = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
    SHA256(bytes, bytes.count, &hash)
    return digest(hash: hash)
}

func digest(hash: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    let hex = hash.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    return "sha256:" + String(decoding: hex, as: UTF8.self)
}

func randomBytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let filled = RAND_bytes(&bytes, Int32(count))
    precondition(filled == 1, "libcrypto has no randomness")
    return bytes
}
