internal import CLibCrypto

/// Hashes a stream. A value: a copy taken at any point can be saved with ``state`` and go on later, in another process.
package struct Digester: Sendable {
    package let algorithm: DigestAlgorithm
    private var context: Context

    // libcrypto's contexts are plain memory without pointers, so copying one copies the hash in progress.
    private enum Context: Sendable {
        case sha256(SHA256_CTX)
        case sha512(SHA512_CTX)
    }

    package init(_ algorithm: DigestAlgorithm) {
        self.algorithm = algorithm
        switch algorithm {
        case .sha256:
            var context = SHA256_CTX()
            SHA256_Init(&context)
            self.context = .sha256(context)
        case .sha512:
            var context = SHA512_CTX()
            SHA512_Init(&context)
            self.context = .sha512(context)
        }
    }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        switch context {
        case .sha256(var running):
            SHA256_Update(&running, bytes.baseAddress, bytes.count)
            context = .sha256(running)
        case .sha512(var running):
            SHA512_Update(&running, bytes.baseAddress, bytes.count)
            context = .sha512(running)
        }
    }

    /// The digest of everything so far. The digester itself can go on.
    package func finalize() -> Digest {
        var hash = [UInt8](repeating: 0, count: algorithm.hashSize)
        switch context {
        case .sha256(var running): SHA256_Final(&hash, &running)
        case .sha512(var running): SHA512_Final(&hash, &running)
        }
        return Digest(algorithm: algorithm, hash: hash)
    }

    /// The hash in progress: a format byte, the algorithm's code, then libcrypto's context as it lies in memory.
    /// Readable by the same processor family only, which is enough for the nodes of one registry.
    package var state: [UInt8] {
        let header = [Self.stateFormat, algorithm.storageCode]
        switch context {
        case .sha256(let running): return header + withUnsafeBytes(of: running) { Array($0) }
        case .sha512(let running): return header + withUnsafeBytes(of: running) { Array($0) }
        }
    }

    /// Continues from a ``state``. Nil if the bytes are none.
    package init?(state: [UInt8]) {
        guard state.count > 2, state[0] == Self.stateFormat,
            let algorithm = DigestAlgorithm.allCases.first(where: { $0.storageCode == state[1] })
        else { return nil }
        self.init(algorithm)
        let saved = state.dropFirst(2)
        switch context {
        case .sha256(var running):
            guard saved.count == MemoryLayout<SHA256_CTX>.size else { return nil }
            withUnsafeMutableBytes(of: &running) { $0.copyBytes(from: saved) }
            guard running.num < 64, running.md_len == 32 else { return nil }
            context = .sha256(running)
        case .sha512(var running):
            guard saved.count == MemoryLayout<SHA512_CTX>.size else { return nil }
            withUnsafeMutableBytes(of: &running) { $0.copyBytes(from: saved) }
            guard running.num < 128, running.md_len == 64 else { return nil }
            context = .sha512(running)
        }
    }

    private static let stateFormat: UInt8 = 1
}
