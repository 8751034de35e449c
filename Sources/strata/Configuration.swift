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
    var tls = TLS()
    var http = HTTP()
    var manifests = Manifests()
    var uploads = Uploads()
    var promises = Promises()
    var log = Log()

    enum Durability: String, CaseIterable, Sendable {
        /// Acknowledged writes survive a power failure.
        case full
        /// Acknowledged writes survive a crash of the process; a power failure may take the last of them.
        case normal
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
        /// `manifests.sparse-indexes`: whether an index may list manifests that are not there; default false.
        var allowsSparseIndexes = false
    }

    struct Uploads: Hashable, Sendable {
        /// `uploads.max-bytes`: most bytes of a blob; default nil, no limit.
        var maximumSize: Int64?
        /// `uploads.max-in-flight`: most uploads whose bytes are received at a time; default 1000.
        var maximumInFlight = 1000
        /// `uploads.session-hours`: how long an upload session may rest between two requests; default 24 h.
        var sessionLifetime = Duration.seconds(24 * 3600)
    }

    struct Promises: Hashable, Sendable {
        /// `promises.lease-hours`: how long new content is kept without a reference; default 12 h.
        var lease = Duration.seconds(12 * 3600)
        /// `promises.window-hours`: how long every successful answer stays true; default 6 h, at most ``lease``.
        var window = Duration.seconds(6 * 3600)
        /// `promises.trash-hours`: how long deleted bytes stay readable; default 2 h.
        var trash = Duration.seconds(2 * 3600)
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
        if promises.window > promises.lease {
            refuse(
                ["promises.window-hours", "promises.lease-hours"],
                "promises.window-hours is more than promises.lease-hours; "
                    + "a lease must last for at least the window that every answer promises."
            )
        }
        return problems
    }
}
