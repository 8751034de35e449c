/// The keys of databases, object stores and the ways from them to clients.
extension ConfigurationKey {
    static let postgres = [
        ConfigurationKey(
            "postgres.url",
            \.postgres.url,
            .text("a libpq connection string or URI"),
            isSecret: true,
            """
            Where PostgreSQL 15 or newer is: `postgres://user:password@host/database`, with any of libpq's parameters. \
            Of several hosts, separated by commas, the one that takes writes is used, also after a failover. On any network \
            that is not yours alone, add `sslmode=verify-full&sslrootcert=/path/to/ca.pem`: without it, libpq neither \
            insists on TLS nor looks at the certificate. Better given as an environment variable than in a file that \
            others read.
            """
        ),
        ConfigurationKey(
            "postgres.connections",
            \.postgres.connections,
            .number(1...1000, unit: "connections"),
            "Most connections that this process opens, and threads that wait for them."
        ),
        ConfigurationKey(
            "postgres.max-queue",
            \.postgres.maximumQueue,
            .number(1...1_000_000, unit: "requests"),
            "Most pieces of work at the database and waiting for a connection; further ones are answered with 503."
        ),
        ConfigurationKey(
            "postgres.patience-seconds",
            \.postgres.patience,
            .seconds(1...300),
            """
            How long work waits for a connection, and is tried again after a deadlock, a restart or a failover, before \
            the client is told 503.
            """
        ),
        ConfigurationKey(
            "postgres.prepare-statements",
            \.postgres.preparesStatements,
            .boolean,
            "Prepare each statement once for a connection. Set false behind PgBouncer in transaction mode before 1.21."
        ),
        ConfigurationKey(
            "postgres.set-limits",
            \.postgres.setsLimits,
            .boolean,
            """
            Set `statement_timeout`, `lock_timeout` and `idle_in_transaction_session_timeout` on each connection. Set \
            false behind PgBouncer in transaction mode, and set them on the role instead.
            """
        ),
    ]

    static let s3 = [
        ConfigurationKey(
            "s3.endpoint",
            \.s3.endpoint,
            .url,
            "The object store: `https://storage.googleapis.com`, `http://127.0.0.1:7480`. Empty for AWS's in `s3.region`."
        ),
        ConfigurationKey("s3.region", \.s3.region, .word("a region"), "The region that requests are signed for."),
        ConfigurationKey("s3.bucket", \.s3.bucket, .text("a bucket"), "The bucket, which must exist."),
        ConfigurationKey(
            "s3.prefix",
            \.s3.prefix,
            .prefix,
            "What every key in the bucket begins with, so that others may share it: `registry/`."
        ),
        ConfigurationKey(
            "s3.style",
            \.s3.style,
            .choice,
            "`path`: `https://host/bucket/key`. `virtual-host`: `https://bucket.host/key`, as AWS prefers."
        ),
        ConfigurationKey(
            "s3.equal-parts",
            \.s3.hasEqualParts,
            .boolean,
            "Send all parts of a large object but the last in one size of 32 MiB, as Cloudflare R2 demands."
        ),
        ConfigurationKey(
            "s3.credentials",
            \.s3.credentials,
            .choice,
            """
            `keys`: `s3.access-key-id` and `s3.secret-access-key`. `environment`: `AWS_ACCESS_KEY_ID`, \
            `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`. `web-identity`: the role `AWS_ROLE_ARN` with the token in \
            `AWS_WEB_IDENTITY_TOKEN_FILE`. `instance`: the machine's role. `auto`: the first of these that is there.
            """
        ),
        ConfigurationKey("s3.access-key-id", \.s3.accessKeyID, .text("a key's name"), "For `s3.credentials = keys`."),
        ConfigurationKey(
            "s3.secret-access-key",
            \.s3.secretAccessKey,
            .text("a secret"),
            isSecret: true,
            "For `s3.credentials = keys`. Better given as an environment variable than in a file that others read."
        ),
        ConfigurationKey(
            "s3.connections",
            \.s3.connections,
            .number(1...10_000, unit: "requests"),
            """
            Most requests to the object store at a time; and besides, as many whose bytes this server sends on to clients, \
            which may take their time for them. A client that would be one more gets 503 after some 20 seconds.
            """
        ),
        ConfigurationKey(
            "s3.upload-memory-bytes",
            \.s3.uploadMemory,
            .number(67_108_864...1_099_511_627_776, unit: "bytes"),
            """
            What all uploads of this process may hold in memory together. When it is used up, clients are read from more \
            slowly; none is refused.
            """
        ),
    ]

    static let downloads = [
        ConfigurationKey(
            "downloads.redirect",
            \.downloads.redirects,
            .boolean,
            """
            With `blobs = s3`, answer a GET of a large blob with 307 and a signed URL of the object store or the CDN. \
            Set false where clients do not reach it; this server then sends the bytes.
            """
        ),
        ConfigurationKey(
            "downloads.redirect-from-bytes",
            \.downloads.minimumSize,
            .number(1...1_099_511_627_776, unit: "bytes"),
            "The least size of a blob that clients are sent elsewhere for; smaller ones are quicker from here."
        ),
        ConfigurationKey(
            "downloads.proxy-networks",
            \.downloads.proxyNetworks,
            .networks,
            "Clients in these networks are sent the bytes by this server, whatever `downloads.redirect` says."
        ),
        ConfigurationKey(
            "downloads.trusted-proxies",
            \.downloads.trustedProxies,
            .networks,
            "Proxies whose `X-Forwarded-For` says who the client is. Others are taken for the client themselves."
        ),
        ConfigurationKey(
            "downloads.url-lifetime",
            \.downloads.lifetime,
            .time(atLeast: 1),
            """
            How long a signed URL is good for, at most 7 days for one of the object store. A download that has begun by then \
            goes on.
            """
        ),
        ConfigurationKey(
            "downloads.longest",
            \.downloads.longest,
            .time(atLeast: 1),
            "How long one download may take. Deleted content stays readable for that long: see `promises.trash`."
        ),
        ConfigurationKey(
            "downloads.cdn-url",
            \.downloads.cdnURL,
            .httpURL,
            """
            A CDN in front of the bucket: `https://cdn.example.net`. Clients are sent there instead of to the object \
            store. Its host must not be a sub-domain of the registry's: many clients would send their password along.
            """
        ),
        ConfigurationKey(
            "downloads.cdn-signature",
            \.downloads.cdnSignature,
            .choice,
            """
            `hmac`: `?expires=…&key=…&signature=…`, which `deploy/edge` verifies. `cloudfront`: CloudFront's signed URLs \
            with a canned policy.
            """
        ),
        ConfigurationKey(
            "downloads.cdn-key-id",
            \.downloads.cdnKeyID,
            .keyName,
            """
            The name under which the CDN knows `downloads.cdn-key`: of a file at `deploy/edge`, of a public key at \
            CloudFront.
            """
        ),
        ConfigurationKey(
            "downloads.cdn-key",
            \.downloads.cdnKey,
            .file("a key: at least 32 random bytes for hmac, an RSA private key in PEM for cloudfront"),
            "The key that URLs are signed with. Read at start."
        ),
    ]
}
