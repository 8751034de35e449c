import BlobStorage
import HTTPAPI

/// What an operator can choose. Read once at start, checked whole, and handed down as values.
///
/// A property's initial value is the default of its key, and stands only here. What a key is called, which values it
/// takes and what it means to an operator stands in ``ConfigurationKey/all``; `docs/configuration.md` is made of that.
struct Configuration: Hashable, Sendable {
    /// `listen`: host and TCP port; default 127.0.0.1:5000. Port 0 takes any free port.
    var listen = ListenAddress.standard
    /// `data`: folder of the metadata and the blobs; default `./strata-data`. Made at start if it is missing.
    var data = "./strata-data"
    /// `external-url`: how clients reach the registry where that is not the listening address; default none.
    var externalURL: ExternalURL?
    /// `durability`: what an acknowledged write survives; default full.
    var durability = Durability.full
    /// `metadata`: the database; default SQLite.
    var metadata = MetadataEngine.sqlite
    /// `blobs`: where layers lie; default files.
    var blobs = BlobEngine.files
    var postgres = Postgres()
    var s3 = S3()
    var downloads = Downloads()
    var tls = TLS()
    var http = HTTP()
    var manifests = Manifests()
    var uploads = Uploads()
    var promises = Promises()
    var collection = Collection()
    var retention = Retention()
    var log = Log()

    enum Durability: String, CaseIterable, Sendable {
        /// Acknowledged writes survive a power failure.
        case full
        /// Acknowledged writes survive a crash of the process; a power failure may take the last of them.
        case normal
    }

    enum MetadataEngine: String, CaseIterable, Sendable { case sqlite, postgres }
    enum BlobEngine: String, CaseIterable, Sendable { case files, s3 }

    struct Postgres: Hashable, Sendable {
        /// `postgres.url`: a libpq connection string or URI; default none. Secret: it may hold a password.
        var url: String?
        /// `postgres.connections`: most connections of this process; default 16.
        var connections = 16
        /// `postgres.max-queue`: most pieces of work under way and waiting; default 2000.
        var maximumQueue = 2000
        /// `postgres.patience-seconds`: how long work waits and is tried again before it is refused; default 15 s.
        var patience = Duration.seconds(15)
        /// `postgres.prepare-statements`: whether statements are prepared once for each connection; default true.
        var preparesStatements = true
        /// `postgres.set-limits`: whether time limits are set on each connection; default true.
        var setsLimits = true
    }

    struct S3: Hashable, Sendable {
        /// `s3.endpoint`: scheme, host and port; default AWS's for the region.
        var endpoint: ExternalURL?
        /// `s3.region`: default us-east-1.
        var region = "us-east-1"
        /// `s3.bucket`: default none.
        var bucket: String?
        /// `s3.prefix`: what every key begins with; default empty.
        var prefix: String?
        /// `s3.style`: where the bucket's name stands; default path.
        var style = Style.path
        /// `s3.equal-parts`: whether the parts of an object must have one size; default false.
        var hasEqualParts = false
        /// `s3.credentials`: where they come from; default auto.
        var credentials = CredentialSource.auto
        /// `s3.access-key-id`: default none.
        var accessKeyID: String?
        /// `s3.secret-access-key`: default none.
        var secretAccessKey: String?
        /// `s3.connections`: most requests at a time; default 128.
        var connections = 128
        /// `s3.upload-memory-bytes`: what all uploads may hold in memory together; default 1 GiB.
        var uploadMemory = 1 << 30

        enum Style: String, CaseIterable, Sendable {
            case path
            case virtualHost = "virtual-host"
        }

        enum CredentialSource: String, CaseIterable, Sendable {
            case auto
            case keys
            case environment
            case webIdentity = "web-identity"
            case instance
        }
    }

    struct Downloads: Hashable, Sendable {
        /// `downloads.redirect`: whether clients get large blobs from the object store itself; default true.
        var redirects = true
        /// `downloads.redirect-from-bytes`: the least size of such a blob; default 1 MiB.
        var minimumSize = 1 << 20
        /// `downloads.proxy-networks`: whose clients are sent the bytes by this server all the same; default none.
        var proxyNetworks: [NetworkRange] = []
        /// `downloads.trusted-proxies`: whose `X-Forwarded-For` is believed; default none.
        var trustedProxies: [NetworkRange] = []
        /// `downloads.url-lifetime`: how long a signed URL is good for; default 20 min.
        var lifetime = Duration.seconds(20 * 60)
        /// `downloads.longest`: how long a download may take; default 60 min.
        var longest = Duration.seconds(60 * 60)
        /// `downloads.cdn-url`: what stands before a key at the CDN; default none, the object store itself.
        var cdnURL: String?
        /// `downloads.cdn-signature`: how the CDN wants its URLs signed; default hmac.
        var cdnSignature = CDNSignature.hmac
        /// `downloads.cdn-key-id`: the name of the key; default none.
        var cdnKeyID: String?
        /// `downloads.cdn-key`: file of the key; default none.
        var cdnKey: String?

        enum CDNSignature: String, CaseIterable, Sendable { case hmac, cloudfront }
    }

    struct TLS: Hashable, Sendable {
        /// `tls.certificate`: path of the certificate chain, PEM; default none.
        var certificate: String?
        /// `tls.key`: path of the private key, PEM; default none.
        var key: String?

        /// Both paths; nil for plain HTTP.
        var files: (certificate: String, key: String)? {
            guard let certificate, let key else { return nil }
            return (certificate, key)
        }
    }

    struct HTTP: Hashable, Sendable {
        /// `http.allow-plain`: whether other machines may be served without TLS; default false.
        var allowsPlain = false
        /// `http.max-connections`: most connections at a time; default 4096. More wait in the kernel's queue.
        var maximumConnections = 4096
        /// `http.max-header-bytes`: most bytes of a request's head; default 65536.
        var maximumHeaderSize = 65_536
        /// `http.idle-seconds`: how long a connection may rest; default 60 s.
        var idleTimeout = Duration.seconds(60)
        /// `http.drain-seconds`: how long requests may go on after the signal to stop; default 30 s.
        var drainTimeout = Duration.seconds(30)
    }

    struct Manifests: Hashable, Sendable {
        /// `manifests.max-bytes`: most bytes of a manifest; default 4 MiB, the least that the specification asks for.
        var maximumSize = 4 * 1024 * 1024
        /// `manifests.max-references`: most descriptors in a manifest; default 10000.
        var maximumReferences = 10_000
        /// `manifests.cache-bytes`: manifests that are kept in memory; default 32 MiB.
        var cacheSize = 32 << 20
        /// `manifests.sparse-indexes`: whether an index may list manifests that are not there; default false.
        var allowsSparseIndexes = false
    }

    struct Uploads: Hashable, Sendable {
        /// `uploads.max-bytes`: most bytes of a blob; default nil, no limit.
        var maximumSize: Int64?
        /// `uploads.max-in-flight`: most uploads whose bytes are received at a time; default 1000.
        var maximumInFlight = 1000
        /// `uploads.session`: how long an upload session may rest between two requests; default 24 h.
        var sessionLifetime = Duration.seconds(24 * 3600)
    }

    struct Promises: Hashable, Sendable {
        /// `promises.lease`: how long new content is kept without a reference; default 12 h.
        var lease = Duration.seconds(12 * 3600)
        /// `promises.window`: how long every successful answer stays true; default 6 h, at most ``lease``.
        var window = Duration.seconds(6 * 3600)
        /// `promises.blob-delay`: how long a blob that no repository holds is kept; default 15 min.
        var blobDelay = Duration.seconds(15 * 60)
        /// `promises.trash`: how long deleted bytes stay readable; default 2 h.
        var trash = Duration.seconds(2 * 3600)
    }

    struct Collection: Hashable, Sendable {
        /// `gc.enabled`: whether this process collects; default true.
        var isEnabled = true
        /// `gc.interval`: how long the collector rests when nothing is left to do; default 10 s.
        var interval = Duration.seconds(10)
        /// `gc.share-percent`: how much of its time it works while there is something to do; default 10.
        var share = 10
    }

    struct Retention: Hashable, Sendable {
        /// `retention.enabled`: whether this process applies the policies; default true.
        var isEnabled = true
        /// `retention.interval`: how long after a round of all repositories the next one begins; default 1 h.
        var interval = Duration.seconds(3600)
    }

    struct Log: Hashable, Sendable {
        /// `log.level`: the least severe lines that are written; default info.
        var level = Level.info
        /// `log.format`: for whom; default text.
        var format = Format.text

        /// Named as the levels of swift-log.
        enum Level: String, CaseIterable, Sendable { case trace, debug, info, notice, warning, error }

        /// Lines for people, or one JSON object a line for machines.
        enum Format: String, CaseIterable, Sendable { case text, json }
    }
}

extension Configuration {
    /// What is wrong with values that are each right. Empty for a configuration that can be served.
    var contradictions: [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        func refuse(_ keys: [String], _ reason: String) { problems.append(.contradiction(keys: keys, reason: reason)) }

        if (tls.certificate == nil) != (tls.key == nil) {
            let (given, missing) = tls.key == nil ? ("tls.certificate", "tls.key") : ("tls.key", "tls.certificate")
            refuse(
                [given, missing],
                "\(given) is set without \(missing); set both for TLS, or neither for plain HTTP."
            )
        } else if tls.files == nil, !listen.host.isLoopback, !http.allowsPlain {
            refuse(
                ["listen", "tls.certificate", "tls.key", "http.allow-plain"],
                "listen = \(listen) would serve other machines over plain HTTP, which others can read and change. "
                    + "Set tls.certificate and tls.key, or listen on 127.0.0.1; "
                    + "behind a proxy that speaks TLS to the clients, set http.allow-plain = true."
            )
        }
        if metadata == .postgres, postgres.url == nil {
            refuse(
                ["postgres.url"],
                "metadata = postgres needs postgres.url, such as postgres://strata@db.example.com/strata."
            )
        }
        if blobs == .s3, s3.bucket == nil {
            refuse(["s3.bucket"], "blobs = s3 needs s3.bucket, the name of a bucket that exists.")
        }
        if s3.credentials == .keys, s3.accessKeyID == nil || s3.secretAccessKey == nil {
            refuse(
                ["s3.access-key-id", "s3.secret-access-key"],
                "s3.credentials = keys needs s3.access-key-id and s3.secret-access-key."
            )
        }
        if downloads.cdnURL != nil, downloads.cdnKey == nil || downloads.cdnKeyID == nil {
            refuse(
                ["downloads.cdn-key", "downloads.cdn-key-id"],
                "downloads.cdn-url needs downloads.cdn-key-id and downloads.cdn-key, with which its URLs are signed."
            )
        }
        if downloads.cdnURL != nil, blobs != .s3 {
            refuse(
                ["downloads.cdn-url", "blobs"],
                "downloads.cdn-url needs blobs = s3: a CDN reads objects from a bucket, not from this server's folder."
            )
        }
        if blobs == .s3, downloads.lifetime + downloads.longest >= promises.trash {
            refuse(
                ["downloads.url-lifetime", "downloads.longest", "promises.trash"],
                "downloads.url-lifetime and downloads.longest together must be less than promises.trash: "
                    + "a client that was sent to a deleted object must be able to finish reading it."
            )
        }
        if redirectsToBucket, downloads.lifetime > .seconds(S3Signer.longestLifetime) {
            refuse(
                ["downloads.url-lifetime"],
                "downloads.url-lifetime is more than 7 days, and no store takes a signed URL that is good for longer."
            )
        }
        if promises.window > promises.lease {
            refuse(
                ["promises.window", "promises.lease"],
                "promises.window is more than promises.lease; "
                    + "a lease must last for at least the window that every answer promises."
            )
        }
        return problems
    }
}
