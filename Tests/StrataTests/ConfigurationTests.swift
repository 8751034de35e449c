import ArgumentParser
import FoundationEssentials
import Testing

@testable import strata

@Suite("Configuration")
struct ConfigurationTests {
    @Test("needs nothing to be set: loopback, plain HTTP, one folder")
    func standsWithoutSettings() throws {
        let configuration = try load().configuration
        #expect(configuration == Configuration())
        #expect("\(configuration.listen)" == "127.0.0.1:5000")
        #expect(configuration.data == "./strata-data")
        #expect(configuration.tls.files == nil)
        #expect(configuration.contradictions.isEmpty)
    }

    @Test("has the documented defaults", arguments: defaults)
    func hasDefault(_ name: String, _ text: String) throws {
        #expect(try #require(ConfigurationKey.named(name)).standard == text)
    }

    @Test("has no key besides the documented ones")
    func hasNoOtherKey() {
        #expect(ConfigurationKey.all.map(\.name).sorted() == Self.defaults.map(\.0).sorted())
    }

    @Test("gives every key a variable of its own")
    func variablesAreUnique() {
        #expect(Set(ConfigurationKey.all.map(\.variable)).count == ConfigurationKey.all.count)
        #expect(ConfigurationKey.named("http.max-header-bytes")?.variable == "STRATA_HTTP_MAX_HEADER_BYTES")
    }

    @Test("takes every default back as it is written", arguments: ConfigurationKey.all.map(\.name))
    func defaultsAreValues(_ name: String) throws {
        let key = try #require(ConfigurationKey.named(name))
        var configuration = Configuration()
        #expect(key.set(key.standard, in: &configuration))
        #expect(configuration == Configuration())
    }

    @Test("turns hours and seconds into durations, and 0 bytes into no limit")
    func hasTypedValues() throws {
        let configuration = try load(
            "uploads.session=2h",
            "promises.lease=7h",
            "http.idle-seconds=90",
            "uploads.max-bytes=0",
            "manifests.sparse-indexes=True",
            "durability=normal",
            "external-url=https://registry.example.com:8443"
        ).configuration
        #expect(configuration.uploads.sessionLifetime == .seconds(7200))
        #expect(configuration.promises.lease == .seconds(25_200))
        #expect(configuration.http.idleTimeout == .seconds(90))
        #expect(configuration.uploads.maximumSize == nil)
        #expect(configuration.manifests.allowsSparseIndexes)
        #expect(configuration.durability == .normal)
        #expect(configuration.externalURL?.port == 8443)
        #expect(configuration.externalURL?.host.text == "registry.example.com")
    }

    @Test("shows each value as it could be set again")
    func showsWhatWasSet() throws {
        let settings = ["uploads.max-bytes": "5000000000", "promises.window": "3h", "listen": "[::1]:80"]
        let loaded = try load(settings.map { "\($0)=\($1)" })
        for (name, value) in settings {
            #expect(ConfigurationKey.named(name)?.text(in: loaded.configuration) == value)
        }
    }

    static let defaults = [
        ("listen", "127.0.0.1:5000"), ("data", "./strata-data"), ("external-url", ""), ("durability", "full"),
        ("metadata", "sqlite"), ("blobs", "files"),
        ("postgres.url", ""), ("postgres.connections", "16"), ("postgres.max-queue", "2000"),
        ("postgres.patience-seconds", "15"), ("postgres.prepare-statements", "true"), ("postgres.set-limits", "true"),
        ("s3.endpoint", ""), ("s3.region", "us-east-1"), ("s3.bucket", ""), ("s3.prefix", ""), ("s3.style", "path"),
        ("s3.equal-parts", "false"), ("s3.credentials", "auto"), ("s3.access-key-id", ""),
        ("s3.secret-access-key", ""), ("s3.connections", "128"), ("s3.upload-memory-bytes", "1073741824"),
        ("downloads.redirect", "true"), ("downloads.redirect-from-bytes", "1048576"),
        ("downloads.proxy-networks", ""), ("downloads.trusted-proxies", ""), ("downloads.url-lifetime", "20m"),
        ("downloads.longest", "1h"), ("downloads.cdn-url", ""), ("downloads.cdn-signature", "hmac"),
        ("downloads.cdn-key-id", ""), ("downloads.cdn-key", ""),
        ("tls.certificate", ""), ("tls.key", ""),
        ("http.allow-plain", "false"), ("http.max-connections", "4096"), ("http.max-header-bytes", "65536"),
        ("http.idle-seconds", "60"), ("http.drain-seconds", "30"),
        ("manifests.max-bytes", "4194304"), ("manifests.max-references", "10000"),
        ("manifests.cache-bytes", "33554432"), ("manifests.sparse-indexes", "false"),
        ("uploads.max-bytes", "0"), ("uploads.max-in-flight", "1000"), ("uploads.session", "1d"),
        ("promises.lease", "12h"), ("promises.window", "6h"), ("promises.blob-delay", "15m"),
        ("promises.trash", "2h"), ("gc.enabled", "true"), ("gc.interval", "10s"), ("gc.share-percent", "10"),
        ("retention.enabled", "true"), ("retention.interval", "1h"), ("log.level", "info"), ("log.format", "text"),
    ]
}

@Suite("Configuration sources")
struct ConfigurationSourceTests {
    @Test("win in the order default, file, environment, --set, own option")
    func haveAnOrder() throws {
        try withFile("log: {level: debug}") { path in
            let variables = ["STRATA_LOG_LEVEL": "notice"]
            let steps: [(LoadedConfiguration, Configuration.Log.Level, ConfigurationSource)] = [
                (try load(), .info, .standard),
                (try load(file: path), .debug, .file(path: path, line: 1)),
                (try load(file: path, environment: variables), .notice, .environment(variable: "STRATA_LOG_LEVEL")),
                (
                    try load("log.level=warning", file: path, environment: variables),
                    .warning, .option("--set")
                ),
                (
                    try load(arguments: ["--log-level", "error", "--set", "log.level=trace"], environment: variables),
                    .error, .option("--log-level")
                ),
            ]
            let key = try #require(ConfigurationKey.named("log.level"))
            for (loaded, level, source) in steps {
                #expect(loaded.configuration.log.level == level)
                #expect(loaded.source(of: key) == source)
            }
        }
    }

    @Test("of one key do not touch the other keys")
    func areMerged() throws {
        try withFile("data: /srv/registry\nuploads.max-in-flight: 7") { path in
            let loaded = try load("http.drain-seconds=0", file: path, environment: ["STRATA_LISTEN": "[::1]:0"])
            #expect(loaded.configuration.data == "/srv/registry")
            #expect(loaded.configuration.uploads.maximumInFlight == 7)
            #expect(loaded.configuration.listen.port == 0)
            #expect(loaded.configuration.http.drainTimeout == .zero)
        }
    }

    @Test("may be named by options of their own")
    func haveOptions() throws {
        let configuration = try load(
            arguments: ["--data", "/d", "--listen", "127.0.0.1:1", "--log-level", "trace", "--log-format", "json"]
        ).configuration
        #expect(configuration.data == "/d")
        #expect(configuration.listen.port == 1)
        #expect(configuration.log == Configuration.Log(level: .trace, format: .json))
    }

    @Test("include the file that STRATA_CONFIG names, unless --config names another")
    func includeTheNamedFile() throws {
        try withFile("data: /one") { one in
            try withFile("data: /two") { two in
                let variables = ["STRATA_CONFIG": one]
                let named = try load(environment: variables)
                let overridden = try load(file: two, environment: variables)
                #expect(named.configuration.data == "/one")
                #expect(overridden.configuration.data == "/two")
            }
        }
    }

    @Test("keep what follows the first equals sign of --set, an empty text too")
    func splitAtTheFirstEqualsSign() throws {
        #expect(try load("data=/a=b").configuration.data == "/a=b")
        #expect(
            try load("external-url=", environment: ["STRATA_EXTERNAL_URL": "http://a"]).configuration.externalURL == nil
        )
    }

    @Test("leave alone what is not Strata's, what its tests use, and what Kubernetes sets for a service")
    func ignoreForeignVariables() throws {
        let foreign = ["PATH": "/bin", "STRATEGY": "x", "STRATA_BIN": "/x", "STRATA_SEED": "1", "STRATA_KILLS": "2"]
        #expect(try load(environment: foreign).configuration == Configuration())
        let links = [
            "KUBERNETES_SERVICE_HOST": "10.0.0.1", "STRATA_SERVICE_HOST": "10.0.0.2",
            "STRATA_PORT": "tcp://10.0.0.2:5000", "STRATA_PORT_5000_TCP_ADDR": "10.0.0.2",
        ]
        #expect(try load(environment: links).configuration == Configuration())
        #expect(problems { try load(environment: ["STRATA_PORT": "80"]) }.count == 1)
    }
}

@Suite("Configuration file")
struct ConfigurationFileTests {
    @Test(
        "says the same nested, with dots and mixed",
        arguments: [
            "http:\n  max-connections: 5\n  idle-seconds: 6", "http.max-connections: 5\nhttp.idle-seconds: 6",
            "http: {max-connections: 5}\nhttp.idle-seconds: \"6\"",
            "{\"http\": {\"max-connections\": 5, \"idle-seconds\": 6}}",
        ]
    )
    func isNestedOrDotted(_ text: String) throws {
        let file = ConfigurationFile(path: "f", text: text)
        #expect(file.problems.isEmpty)
        #expect(
            Dictionary(uniqueKeysWithValues: file.settings.map { ($0.key, $0.value) })
                == ["http.max-connections": "5", "http.idle-seconds": "6"]
        )
    }

    @Test(
        "may be empty, or have sections whose lines are all comments",
        arguments: ["", "# nothing", "---", "http:\n  # x: 1"]
    )
    func mayBeEmpty(_ text: String) {
        let file = ConfigurationFile(path: "f", text: text)
        #expect(file.problems.isEmpty)
        #expect(file.settings.isEmpty)
    }

    @Test("knows the line of each key")
    func knowsLines() {
        let file = ConfigurationFile(path: "f", text: "# comment\nlog:\n  level: debug\ndata: /d")
        #expect(file.settings.map { "\($0.source)" } == ["f:3", "f:4"])
    }

    @Test(
        "is refused when a key is set twice, whichever way it is written",
        arguments: [
            "data: /a\ndata: /b", "log.level: info\nlog:\n  level: debug",
        ]
    )
    func refusesTwice(_ text: String) {
        #expect(ConfigurationFile(path: "f", text: text).problems.count == 1)
    }

    @Test(
        "is refused when it is not a mapping of single values",
        arguments: ["- a\n- b", "word", "data: [a, b]", "a: b: c", "{"]
    )
    func refusesOtherShapes(_ text: String) {
        #expect(ConfigurationFile(path: "f", text: text).problems.count == 1)
    }

    @Test("is refused by name when it is missing")
    func refusesMissing() {
        #expect(
            problems { try load(file: "/nowhere/strata.yaml") } == [
                .file(path: "/nowhere/strata.yaml", reason: "it is missing or not readable.")
            ]
        )
    }
}

@Suite("What a command shows of the configuration")
struct ConfigurationOutputTests {
    @Test("is docs/configuration.md, as it is in the repository")
    func isDocumented() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let path = root.appending(path: "docs/configuration.md").path
        let text = try #require(FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) })
        #expect(text == ConfigurationDocumentation.markdown, "run 'strata config docs > docs/configuration.md'")
    }

    @Test("is documented for every key, with value, default and variable")
    func documentsEveryKey() {
        for key in ConfigurationKey.all {
            for part in ["### `\(key.name)`\n", key.expected, "`\(key.variable)`"] {
                #expect(ConfigurationDocumentation.markdown.contains(part))
            }
        }
    }

    @Test("is JSON with typed values and their sources")
    func isJSON() throws {
        struct Entry<Value: Decodable>: Decodable {
            let value: Value
            let source: String
        }
        struct Shown: Decodable {
            let data: Entry<String>
            let connections: Entry<Int>
            let plain: Entry<Bool>
            enum CodingKeys: String, CodingKey {
                case data
                case connections = "http.max-connections"
                case plain = "http.allow-plain"
            }
        }
        let json = try load(#"data=/a "quoted" \ path"#).json()
        let shown = try JSONDecoder().decode(Shown.self, from: Data(json.utf8))
        #expect(shown.data.value == #"/a "quoted" \ path"#)
        #expect(shown.data.source == "option --set")
        #expect(shown.connections.value == 4096)
        #expect(shown.connections.source == "default")
        #expect(!shown.plain.value)
    }

    @Test("is a table of key, value and source")
    func isTable() throws {
        let lines = try load("listen=127.0.0.1:7").table().split(separator: "\n")
        #expect(lines.count == ConfigurationKey.all.count)
        #expect(lines.first?.split(separator: " ") == ["listen", "127.0.0.1:7", "option", "--set"])
    }
}
