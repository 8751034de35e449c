import BlobStorage
import Foundation
import HTTPAPI

/// The files that a configuration names.
extension Configuration {
    /// Nil for plain HTTP.
    ///
    /// - Throws: ``ConfigurationError`` if the files cannot be used, or not together.
    func certificates() throws -> CertificateStore? {
        guard let files = tls.files else { return nil }
        let unreadable = [("tls.certificate", files.certificate), ("tls.key", files.key)]
            .filter { _, path in !FileManager.default.isReadableFile(atPath: path) }
            .map { key, path in ConfigurationProblem.unreadable(key: key, path: path) }
        guard unreadable.isEmpty else { throw ConfigurationError(problems: unreadable) }
        do {
            return try CertificateStore(certificatePath: files.certificate, keyPath: files.key)
        } catch let error as CertificateError {
            let key = error.file == .certificate ? "tls.certificate" : "tls.key"
            throw ConfigurationError(problems: [.unusable(key: key, path: error.path, reason: error.reason)])
        }
    }

    /// What is wrong with them; empty if nothing is.
    func problemsOfFiles() throws -> [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        do { _ = try certificates() } catch let error as ConfigurationError { problems += error.problems }
        do {
            _ = try CDNURLSigner(downloads, prefix: s3.prefix)
        } catch let error as ConfigurationError {
            problems += error.problems
        }
        return problems
    }
}
