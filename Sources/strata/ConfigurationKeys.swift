extension ConfigurationKey {
    /// Every key, in the order in which they are shown. The only list: files, variables, options and
    /// `docs/configuration.md` follow it.
    static let all =
        server + postgres + s3 + downloads + http + manifests + uploads + promises + collection + retention + log

    private static let server = [
        ConfigurationKey(
            "listen",
            \.listen,
            .address,
            """
            Where the server accepts connections. Port 0 takes any free port. An address other than loopback needs TLS \
            or `http.allow-plain`.
            """
        ),
        ConfigurationKey(
            "data",
            \.data,
            .folder,
            """
            Folder that holds everything: the metadata database and the blobs. It is made if it is missing, and must \
            be on a local file system.
            """
        ),
        ConfigurationKey(
            "external-url",
            \.externalURL,
            .url,
            """
            How clients reach the registry, where that is not the listening address: the name of the proxy in front of \
            it. Empty for the listening address.
            """
        ),
        ConfigurationKey(
            "durability",
            \.durability,
            .choice,
            """
            What an acknowledged push survives. `full`: a power failure. `normal`: a crash of the server, while a \
            power failure may take the last moments before it; for disposable registries and slow disks.
            """
        ),
        ConfigurationKey(
            "metadata",
            \.metadata,
            .choice,
            "The database: `sqlite`, in the data folder, for one server; `postgres`, for any number of servers."
        ),
        ConfigurationKey(
            "blobs",
            \.blobs,
            .choice,
            "Where layers lie: `files`, in the data folder, for one server; `s3`, an object store that servers share."
        ),
        ConfigurationKey(
            "tls.certificate",
            \.tls.certificate,
            .file("a certificate chain in PEM"),
            """
            The server's certificate, followed by its intermediates. Set together with `tls.key`; empty for plain \
            HTTP. Both files are read again when they change, and on SIGHUP.
            """
        ),
        ConfigurationKey(
            "tls.key",
            \.tls.key,
            .file("a private key in PEM"),
            "The private key of `tls.certificate`. Only the server's user should be able to read it."
        ),
    ]

    private static let http = [
        ConfigurationKey(
            "http.allow-plain",
            \.http.allowsPlain,
            .boolean,
            """
            Serve plain HTTP on an address that other machines reach. Right behind a proxy that speaks TLS to the \
            clients; anywhere else, whoever is between can read and change what is pulled and pushed.
            """
        ),
        ConfigurationKey(
            "http.max-connections",
            \.http.maximumConnections,
            .number(1...1_000_000, unit: "connections"),
            "Most connections at a time. Further ones wait until one closes; none is refused."
        ),
        ConfigurationKey(
            "http.max-header-bytes",
            \.http.maximumHeaderSize,
            .number(1024...1_048_576, unit: "bytes"),
            "Most bytes of a request's line and headers together. A larger one is answered with 431."
        ),
        ConfigurationKey(
            "http.idle-seconds",
            \.http.idleTimeout,
            .seconds(1...86_400),
            "How long a connection may carry no byte before it is closed, unless the client waits for the server."
        ),
        ConfigurationKey(
            "http.drain-seconds",
            \.http.drainTimeout,
            .seconds(0...3600),
            """
            How long requests may go on after the signal to stop; then their connections are closed. Uploads that are \
            cut off can be continued after the restart.
            """
        ),
    ]

    private static let manifests = [
        ConfigurationKey(
            "manifests.max-bytes",
            \.manifests.maximumSize,
            .number(1...67_108_864, unit: "bytes"),
            "Most bytes of a manifest. The specification asks for 4 MiB at least. A larger one is answered with 413."
        ),
        ConfigurationKey(
            "manifests.max-references",
            \.manifests.maximumReferences,
            .number(1...1_000_000, unit: "descriptors"),
            "Most descriptors (config, layers and manifests together) that one manifest may list."
        ),
        ConfigurationKey(
            "manifests.cache-bytes",
            \.manifests.cacheSize,
            .number(0...17_179_869_184, unit: "bytes"),
            """
            Manifests that are kept in memory by digest. Whether a repository holds one is asked of the database every \
            time.
            """
        ),
        ConfigurationKey(
            "manifests.sparse-indexes",
            \.manifests.allowsSparseIndexes,
            .boolean,
            """
            Accept an index although manifests that it lists are not in the repository. For mirrors that copy some \
            platforms only; pulling an absent platform then fails.
            """
        ),
    ]

    private static let uploads = [
        ConfigurationKey(
            "uploads.max-bytes",
            \.uploads.maximumSize,
            .limit(unit: "bytes"),
            "Most bytes of a blob. A larger one is answered with 413 as soon as it is seen."
        ),
        ConfigurationKey(
            "uploads.max-in-flight",
            \.uploads.maximumInFlight,
            .number(1...100_000, unit: "uploads"),
            "Most uploads whose bytes are received at a time. Further ones wait; none is refused."
        ),
        ConfigurationKey(
            "uploads.session",
            \.uploads.sessionLifetime,
            .time(atLeast: 1),
            "How long an upload session may rest between two requests before it can no longer be continued."
        ),
    ]

    private static let promises = [
        ConfigurationKey(
            "promises.lease",
            \.promises.lease,
            .time(atLeast: 1),
            """
            How long an uploaded or mounted blob, or a manifest without a tag, is kept although nothing refers to it \
            yet: the time that a push has to finish.
            """
        ),
        ConfigurationKey(
            "promises.window",
            \.promises.window,
            .time(atLeast: 1),
            """
            How long every successful answer about a blob or a manifest stays true. A client that saw it exist need \
            not push it again within this time. At most `promises.lease`.
            """
        ),
        ConfigurationKey(
            "promises.blob-delay",
            \.promises.blobDelay,
            .time(atLeast: 1),
            """
            How long a blob is kept that no repository holds any more, so that the next push of it need not send its \
            bytes.
            """
        ),
        ConfigurationKey(
            "promises.trash",
            \.promises.trash,
            .time(atLeast: 1),
            "How long the bytes of deleted content stay on disk, so that downloads that have begun can end."
        ),
    ]

    private static let collection = [
        ConfigurationKey(
            "gc.enabled",
            \.collection.isEnabled,
            .boolean,
            """
            Reclaim in this process what nothing refers to any more. Any number of processes of a fleet may; where none \
            does, `strata gc run` has to be run in its place.
            """
        ),
        ConfigurationKey(
            "gc.interval",
            \.collection.interval,
            .time(atLeast: 1),
            "How long the collector rests when there is nothing left to do."
        ),
        ConfigurationKey(
            "gc.share-percent",
            \.collection.share,
            .number(1...100, unit: "percent"),
            """
            How much of the time the collector works while there is something to do. It works in transactions of \
            milliseconds and rests after each in proportion to what it took, so the slower the database is, the less is \
            asked of it. Four hours behind, it works twice as much, and again with each further hour.
            """
        ),
    ]

    private static let retention = [
        ConfigurationKey(
            "retention.enabled",
            \.retention.isEnabled,
            .boolean,
            """
            Apply the retention policies in this process. Of all processes of a fleet one does so at a time; without a \
            policy nothing is deleted.
            """
        ),
        ConfigurationKey(
            "retention.interval",
            \.retention.interval,
            .time(atLeast: 1),
            "How long after a round through all repositories the next one begins."
        ),
    ]

    private static let log = [
        ConfigurationKey("log.level", \.log.level, .choice, "The least severe lines that are logged."),
        ConfigurationKey(
            "log.format",
            \.log.format,
            .choice,
            "`text`: a line for people. `json`: one JSON object a line, for machines."
        ),
    ]
}
