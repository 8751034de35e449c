import ArgumentParser
import FoundationEssentials
import Testing

@testable import strata

@Suite("A wrong configuration")
struct WrongConfigurationTests {
    @Test(
        "names the nearest known key for an unknown one",
        arguments: [
            ("listn", "listen"), ("log-level", "log.level"), ("LOG.LEVEL", "log.level"),
            ("htpp.max-conections", "http.max-connections"),
            ("max-in-flight", "uploads.max-in-flight"), ("uploads.max_bytes", "uploads.max-bytes"),
            ("http", "http.allow-plain"), ("htpp", "http.allow-plain"), ("max-conections", "http.max-connections"),
            ("tls.certificat", "tls.certificate"),
        ]
    )
    func namesTheNearestKey(_ name: String, _ nearest: String) {
        #expect(problems { try load("\(name)=x") } == [.unknownKey(name, source: .option("--set"), nearest: nearest)])
    }

    @Test("names the unknown key and where it came from")
    func namesTheSource() throws {
        try withFile("uploads:\n  max-inflight: 5") { path in
            let message = problems { try load(file: path) }.first?.description
            #expect(
                message == """
                    Unknown key 'uploads.max-inflight' (\(path):2); the nearest known key is 'uploads.max-in-flight'.
                    """
            )
        }
        let message = problems { try load(environment: ["STRATA_LOG_LEVL": "debug"]) }.first?.description
        #expect(
            message == """
                Unknown key 'STRATA_LOG_LEVL' (environment STRATA_LOG_LEVL); \
                the nearest known key is 'STRATA_LOG_LEVEL'.
                """
        )
    }

    @Test("names key, value, source and what is expected for a wrong value")
    func namesTheExpectation() {
        let message = problems { try load(environment: ["STRATA_UPLOADS_MAX_IN_FLIGHT": "many"]) }.first?.description
        #expect(
            message == """
                The value 'many' of 'uploads.max-in-flight' (environment STRATA_UPLOADS_MAX_IN_FLIGHT) is wrong; \
                expected a whole number of uploads from 1 to 100000.
                """
        )
    }

    @Test(
        "is refused beyond the bounds, and accepted on them",
        arguments: [
            ("http.max-connections", 1, 1_000_000), ("http.max-header-bytes", 1024, 1_048_576),
            ("http.idle-seconds", 1, 86_400), ("http.drain-seconds", 0, 3600),
            ("manifests.max-bytes", 1, 67_108_864), ("manifests.max-references", 1, 1_000_000),
            ("uploads.max-in-flight", 1, 100_000), ("gc.share-percent", 1, 100),
        ]
    )
    func keepsBounds(_ name: String, _ least: Int, _ most: Int) throws {
        let key = try #require(ConfigurationKey.named(name))
        var configuration = Configuration()
        #expect(key.set("\(least)", in: &configuration) && key.set("\(most)", in: &configuration))
        #expect(!key.set("\(least - 1)", in: &configuration) && !key.set("\(most + 1)", in: &configuration))
        #expect(key.text(in: configuration) == "\(most)")
    }

    @Test(
        "takes a time with its unit, and shows it in the largest that fits",
        arguments: [("90s", "90s"), ("120s", "2m"), ("24h", "1d"), ("36h", "36h"), ("3650d", "3650d")]
    )
    func times(_ written: String, _ shown: String) throws {
        let key = try #require(ConfigurationKey.named("promises.lease"))
        var configuration = Configuration()
        #expect(key.set(written, in: &configuration))
        #expect(key.text(in: configuration) == shown)
    }

    @Test(
        "refuses what is no time",
        arguments: ["", "7", "h", "0s", "-1h", "1.5h", "1w", "3651d", "9223372036854775807d"]
    )
    func noTimes(_ text: String) throws {
        let key = try #require(ConfigurationKey.named("promises.lease"))
        var configuration = Configuration()
        #expect(!key.set(text, in: &configuration))
    }

    @Test(
        "is refused for values of another type",
        arguments: [
            "http.max-connections=", "http.max-connections=1.5", "http.max-connections=1e3", "http.max-connections= 5",
            "http.max-connections=99999999999999999999", "uploads.max-bytes=-1", "uploads.max-bytes=5GiB",
            "manifests.sparse-indexes=yes", "manifests.sparse-indexes=1", "log.level=verbose", "log.level=INFO",
            "log.format=xml", "durability=none", "data=", "uploads.session=12",
            "listen=", "listen=5000", "listen=:5000", "listen=127.0.0.1", "listen=127.0.0.1:", "listen=127.0.0.1:65536",
            "listen=127.0.0.1:-1", "listen=300.0.0.1:5000", "listen=::1:5000", "listen=[::g]:5000", "listen=a b:5000",
            "external-url=registry.example.com", "external-url=ftp://registry", "external-url=https://",
            "external-url=https://registry/", "external-url=https://registry:0", "external-url=https://user@registry",
            "downloads.cdn-url=cdn.example.net", "downloads.cdn-url=https://", "downloads.cdn-url=https://cdn/",
            "downloads.cdn-url=https://cdn:x/a", "downloads.cdn-url=https://u@cdn/a",
            "downloads.cdn-url=https://cdn//a",
            "downloads.cdn-url=https://cdn/a?b", "downloads.cdn-url=https://cdn/a b", "downloads.cdn-key-id=../K1",
            "downloads.cdn-key-id=K 1", "downloads.cdn-key-id=\(String(repeating: "k", count: 65))",
        ]
    )
    func refusesOtherTypes(_ assignment: String) throws {
        let found = problems { try load(assignment) }
        #expect(found.count == 1)
        guard case .wrongValue = try #require(found.first) else {
            Issue.record("\(found)")
            return
        }
    }

    @Test("is refused when --set has no key and value", arguments: ["", "listen", "=x"])
    func refusesNoAssignment(_ text: String) {
        #expect(problems { try load(text) } == [.notAssignment(text)])
    }

    @Test("is told whole, not problem by problem")
    func tellsEverything() {
        let found = problems {
            try load("listn=x", "log.level=x", "x", environment: ["STRATA_X": "", "STRATA_DATA": ""])
        }
        #expect(found.count == 5)
        #expect("\(ConfigurationError(problems: found))".hasPrefix("The configuration has 5 problems:\n  - "))
    }
}

@Suite("A contradictory configuration")
struct ContradictionTests {
    @Test("is one with half of a TLS key pair", arguments: ["tls.certificate", "tls.key"])
    func needsBothTLSFiles(_ key: String) {
        let found = problems { try load("\(key)=/x") }
        guard case .contradiction(let keys, _) = found.first else {
            Issue.record("\(found)")
            return
        }
        #expect(Set(keys) == ["tls.certificate", "tls.key"])
    }

    @Test(
        "is plain HTTP for other machines, and says what to do",
        arguments: ["0.0.0.0:5000", "[::]:5000", "192.0.2.1:80", "registry.example.com:80", "128.0.0.1:80", "[::2]:80"]
    )
    func refusesPlainHTTP(_ address: String) throws {
        let message = "\(ConfigurationError(problems: problems { try load("listen=\(address)") }))"
        for part in ["listen = \(address)", "tls.certificate", "tls.key", "http.allow-plain = true", "proxy"] {
            #expect(message.contains(part))
        }
        #expect(try load("listen=\(address)", "http.allow-plain=true").configuration.http.allowsPlain)
        #expect(try load("listen=\(address)", "tls.certificate=/c", "tls.key=/k").configuration.tls.files?.key == "/k")
    }

    @Test(
        "is not plain HTTP on loopback",
        arguments: [
            "127.0.0.1:5000", "127.8.9.1:0", "[::1]:5000", "[0:0::1]:5000", "[::ffff:127.0.0.1]:80", "localhost:5000",
            "LOCALHOST:80",
        ]
    )
    func allowsLoopback(_ address: String) throws {
        #expect(try load("listen=\(address)").configuration.listen.host.isLoopback)
    }

    @Test("is a signed URL of the store that is good for more than a week; a CDN's may be")
    func boundsTheLifeOfSignedURLs() throws {
        let bucket = ["blobs=s3", "s3.bucket=b", "promises.trash=60d"]
        let cdn = ["downloads.cdn-url=https://cdn.example.net", "downloads.cdn-key=/k", "downloads.cdn-key-id=K"]
        let (week, longer) = (["downloads.url-lifetime=604800s"], ["downloads.url-lifetime=604801s"])
        guard case .contradiction(let keys, _) = problems({ try load(bucket + longer) }).first else {
            Issue.record("it was taken")
            return
        }
        #expect(keys == ["downloads.url-lifetime"])
        for fine in [bucket + week, bucket + longer + cdn, bucket + longer + ["downloads.redirect=false"]] {
            #expect(problems { try load(fine) } == [])
        }
    }

    @Test("is a CDN without a key, or in front of files")
    func needsAKeyAndABucket() throws {
        let bucket = ["blobs=s3", "s3.bucket=b", "downloads.cdn-url=https://cdn.example.net:8443/a/b"]
        let key = ["downloads.cdn-key=/k", "downloads.cdn-key-id=K-1_a"]
        for missing in [bucket, bucket + key.prefix(1), bucket + key.suffix(1), Array(bucket.suffix(1)) + key] {
            #expect(problems { try load(missing) }.count == 1)
        }
        let whole = try load(bucket + key).configuration
        #expect(whole.downloads.cdnURL == "https://cdn.example.net:8443/a/b")
        #expect(whole.downloadHost?.text == "cdn.example.net")
    }

    @Test("is a window longer than the lease")
    func keepsTheWindowWithinTheLease() throws {
        #expect(problems { try load("promises.window=13h") }.count == 1)
        #expect(try load("promises.window=12h").configuration.promises.window == .seconds(43_200))
    }
}

@Suite("The blob host")
struct BlobHostTests {
    @Test(
        "is the CDN, or the store under the name that requests use",
        arguments: [
            (["s3.region=eu-west-1"], "s3.eu-west-1.amazonaws.com"),
            (["s3.region=eu-west-1", "s3.style=virtual-host"], "b.s3.eu-west-1.amazonaws.com"),
            (["s3.endpoint=http://127.0.0.1:7480"], "127.0.0.1"),
            (
                ["downloads.cdn-url=https://CDN.example.net/x", "downloads.cdn-key=/k", "downloads.cdn-key-id=k"],
                "cdn.example.net"
            ),
        ]
    )
    func isKnown(_ settings: [String], _ host: String) throws {
        #expect(try load(["blobs=s3", "s3.bucket=b"] + settings).configuration.downloadHost?.text == host)
    }

    @Test(
        "gets what is for the registry when it is the same or below it",
        arguments: [
            ("registry.example.com", true), ("cdn.registry.example.com", true), ("REGISTRY.example.com", true),
            ("example.com", false), ("cdn.example.com", false), ("myregistry.example.com", false),
            ("registry.example.com.evil.net", false), ("127.0.0.1", false),
        ]
    )
    func isWithin(_ name: String, _ expected: Bool) throws {
        let registry = try #require(NetworkHost("registry.example.com"))
        #expect(try #require(NetworkHost(name)).isWithin(registry) == expected)
    }
}
