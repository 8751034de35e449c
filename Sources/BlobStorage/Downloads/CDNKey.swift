import CLibCrypto

/// What URLs of a CDN are signed with, and so how.
package enum CDNKey: Sendable {
    /// Strata's own scheme: see ``CDNURLSigner``.
    case hmac(secret: [UInt8])
    case cloudFront(RSAPrivateKey)

    /// Fewest bytes of a secret: as many as the HMAC has, which is what RFC 2104 asks for.
    package static let leastSecret = 32

    /// - Parameter file: the secret. Line ends at its end are not part of it, so that it can be made with any tool.
    /// - Throws: ``CDNKeyError``.
    package static func hmac(file: [UInt8]) throws -> CDNKey {
        let end = file.lastIndex { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        let secret = file.prefix(end.map { $0 + 1 } ?? 0)
        guard secret.count >= leastSecret else { throw CDNKeyError.tooShort(bytes: secret.count) }
        return .hmac(secret: Array(secret))
    }

    /// - Parameter file: an RSA private key in PEM, without a passphrase.
    /// - Throws: ``CDNKeyError``.
    package static func cloudFront(file: [UInt8]) throws -> CDNKey { .cloudFront(try RSAPrivateKey(pem: file)) }
}

/// Why a file cannot be used as a key. Says nothing about what is in it.
package enum CDNKeyError: Error, Hashable, CustomStringConvertible {
    case tooShort(bytes: Int)
    case noPrivateKey
    case notRSA
    case weak(bits: Int)

    package var description: String {
        switch self {
        case .tooShort(let bytes):
            "it holds \(bytes) bytes, and an HMAC key needs at least \(CDNKey.leastSecret), as "
                + "'openssl rand -hex 32' makes them"
        case .noPrivateKey:
            "it holds no private key in PEM without a passphrase, as 'openssl genrsa 2048' makes it"
        case .notRSA: "its private key is not an RSA key, and CloudFront's signatures are RSA"
        case .weak(let bits): "its RSA key has \(bits) bits, and CloudFront takes keys of \(RSAPrivateKey.leastBits)"
        }
    }
}

/// Signs with RSASSA-PKCS1-v1_5 and SHA-1, as CloudFront wants it. An expiring signature over a text that only we write
/// needs no hash that resists collisions.
package final class RSAPrivateKey: Sendable {
    /// Many threads may sign with a key of libcrypto's at once as long as none changes it, and none does.
    private nonisolated(unsafe) let key: OpaquePointer

    static let leastBits: Int = 2048

    /// - Throws: ``CDNKeyError``.
    init(pem: [UInt8]) throws {
        defer { ERR_clear_error() }
        let bio = BIO_new_mem_buf(pem, CInt(pem.count))
        defer { BIO_free(bio) }
        // libcrypto would ask for a passphrase on the terminal; a server has nobody to answer.
        guard let key = PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in -1 }, nil) else {
            throw CDNKeyError.noPrivateKey
        }
        self.key = key
        guard EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA else { throw CDNKeyError.notRSA }
        let bits = Int(EVP_PKEY_get_bits(key))
        guard bits >= Self.leastBits else { throw CDNKeyError.weak(bits: bits) }
    }

    deinit { EVP_PKEY_free(key) }

    /// - Throws: ``BlobStorageError``, if libcrypto was built or told not to make such signatures.
    func signature(over message: [UInt8]) throws -> [UInt8] {
        defer { ERR_clear_error() }
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        var length = Int(EVP_PKEY_get_size(key))
        var signature = [UInt8](repeating: 0, count: length)
        guard EVP_DigestSignInit(context, nil, EVP_sha1(), nil, key) == 1,
            EVP_DigestSign(context, &signature, &length, message, message.count) == 1
        else { throw BlobStorageError.refused("libcrypto makes no RSA signature with SHA-1 for the CDN") }
        return Array(signature.prefix(length))
    }
}
