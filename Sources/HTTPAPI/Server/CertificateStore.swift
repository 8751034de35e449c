import Foundation
import NIOSSL
import Synchronization

/// The server's certificate, read again when its file changes: a renewal needs no restart.
package final class CertificateStore: Sendable {
    private struct State {
        var context: NIOSSLContext
        var version: Version
    }

    private struct Version: Equatable {
        var certificate: Date?
        var key: Date?
    }

    private let certificatePath: String
    private let keyPath: String
    private let state: Mutex<State>

    /// - Parameters: paths of PEM files; the certificate's holds the chain, leaf first.
    /// - Throws: ``CertificateError`` if the files cannot be read or do not belong together.
    package init(certificatePath: String, keyPath: String) throws {
        self.certificatePath = certificatePath
        self.keyPath = keyPath
        let version = Self.version(certificatePath, keyPath)
        state = Mutex(State(context: try Self.load(certificatePath, keyPath), version: version))
    }

    /// What a new connection is served with.
    var context: NIOSSLContext { state.withLock { $0.context } }

    /// Reads the files again if they have changed. A pair that cannot be used is refused and the old one kept.
    ///
    /// - Returns: whether a new certificate is in use.
    package func reload(force: Bool = false) throws -> Bool {
        let version = Self.version(certificatePath, keyPath)
        guard force || state.withLock({ $0.version != version }) else { return false }
        let context = try Self.load(certificatePath, keyPath)
        state.withLock { $0 = State(context: context, version: version) }
        return true
    }

    private static func load(_ certificatePath: String, _ keyPath: String) throws -> NIOSSLContext {
        let chain = try read(.certificate, certificatePath, "it holds no certificate in PEM") {
            let chain = try NIOSSLCertificate.fromPEMBytes($0)
            return chain.isEmpty ? nil : chain
        }
        let key = try read(.key, keyPath, "it holds no private key in PEM without a passphrase") {
            try NIOSSLPrivateKey(bytes: $0, format: .pem)
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["h2", "http/1.1"]
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch NIOSSLError.failedToLoadPrivateKey {
            let reason = "its key does not belong to the certificate in \(certificatePath)"
            throw CertificateError(file: .key, path: keyPath, reason: reason)
        }
    }

    /// - Parameters:
    ///   - fault: what is wrong with a file that cannot be parsed.
    ///   - parse: nil if there is nothing in the bytes.
    private static func read<Value>(
        _ file: CertificateError.File,
        _ path: String,
        _ fault: String,
        _ parse: ([UInt8]) throws -> Value?
    ) throws -> Value {
        guard let content = FileManager.default.contents(atPath: path) else {
            throw CertificateError(file: file, path: path, reason: "it is missing or not readable")
        }
        do {
            if let value = try parse(Array(content)) { return value }
        } catch is NIOSSLError {}  // says less than we do
        throw CertificateError(file: file, path: path, reason: fault)
    }

    private static func version(_ certificatePath: String, _ keyPath: String) -> Version {
        func modified(_ path: String) -> Date? {
            let values = try? FileManager.default.attributesOfItem(atPath: path)  // unreadable: said by load
            return values?[.modificationDate] as? Date
        }
        return Version(certificate: modified(certificatePath), key: modified(keyPath))
    }
}

/// Why a file cannot be used for TLS. Says nothing about what is in it.
package struct CertificateError: Error, CustomStringConvertible {
    package enum File: Sendable { case certificate, key }

    package let file: File
    package let path: String
    /// Follows the name of the file, without a full stop.
    package let reason: String

    package var description: String { "\(path): \(reason)" }
}
