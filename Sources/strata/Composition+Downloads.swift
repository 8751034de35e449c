import BlobStorage
import Foundation
import Logging
import RegistryCore

/// Where clients get large blobs.
extension Composition {
    /// Nil if this server sends all bytes itself.
    ///
    /// - Throws: ``ConfigurationError`` if the CDN's key cannot be used.
    func downloads() throws -> DownloadPolicy? {
        let chosen = configuration.downloads
        guard chosen.redirects, let store = blobs as? S3BlobStore else { return nil }
        warnOfLeakedCredentials()
        let cdn = try CDNURLSigner(chosen, prefix: configuration.s3.prefix)
        return DownloadPolicy(
            urls: DownloadURLs(cdn ?? store, lifetime: chosen.lifetime),
            minimumSize: Int64(chosen.minimumSize)
        )
    }

    /// Clients such as docker and containerd follow Go's rule: a redirect to the registry's own host, or to one below it,
    /// gets the `Authorization` that the registry got. The blob host then has the client's password, and an object store
    /// answers 400 to a request that is signed in two ways.
    private func warnOfLeakedCredentials() {
        guard let registry = configuration.externalURL?.host, let host = configuration.downloadHost,
            host.isWithin(registry)
        else { return }
        logger.warning(
            "clients may send their credentials to the blob host, which is the registry's own or below it",
            metadata: ["blobs": "\(host)", "registry": "\(registry)", "see": "docs/downloads.md"]
        )
    }
}

extension Configuration {
    /// Whether clients are sent to the bucket itself. A CDN has URLs and ways of its own.
    var redirectsToBucket: Bool { blobs == .s3 && downloads.redirects && downloads.cdnURL == nil }

    /// Whose URLs clients are sent to; nil for a name that cannot be known.
    var downloadHost: NetworkHost? {
        if let url = downloads.cdnURL { return ExternalURL.split(url)?.origin.host }
        let store = S3Configuration(s3)
        return NetworkHost(store.usesPathStyle ? store.host : "\(store.bucket).\(store.host)")
    }
}

extension CDNURLSigner {
    /// Nil without a CDN.
    ///
    /// - Throws: ``ConfigurationError`` if its key cannot be used.
    init?(_ chosen: Configuration.Downloads, prefix: String?) throws {
        guard let url = chosen.cdnURL, let keyID = chosen.cdnKeyID, let path = chosen.cdnKey else { return nil }
        let name = "downloads.cdn-key"
        guard let file = FileManager.default.contents(atPath: path) else {
            throw ConfigurationError(problems: [.unreadable(key: name, path: path)])
        }
        do {
            let key: CDNKey =
                switch chosen.cdnSignature {
                case .hmac: try .hmac(file: Array(file))
                case .cloudfront: try .cloudFront(file: Array(file))
                }
            self.init(base: url, prefix: prefix ?? "", keyID: keyID, key: key)
        } catch let error as CDNKeyError {
            throw ConfigurationError(problems: [.unusable(key: name, path: path, reason: "\(error)")])
        }
    }
}
