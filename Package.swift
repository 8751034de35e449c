// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

// Read top to bottom: a target may depend only on targets above it.
let package = Package(
    name: "strata",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "strata", targets: ["strata"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),  // the command line
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),  // structured logs
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),  // sockets, event loops, HTTP/1
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),  // HTTP/2 under TLS
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),  // TLS
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),  // SQLite
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),  // the configuration file
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),  // S3, imports
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),  // signals
    ],
    targets: [
        .systemLibrary(name: "CLibCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CPostgreSQL", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .target(name: "HTTPSyntax"),
        .target(name: "OCI", dependencies: ["CLibCrypto", "HTTPSyntax"]),
        .target(name: "Retention", dependencies: ["OCI"]),
        .target(name: "LoadGenerator", dependencies: ["CLibCrypto"]),
        .target(name: "Telemetry"),
        .target(
            name: "SQLStore",
            dependencies: [
                "CPostgreSQL", .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "GRDB", package: "GRDB.swift"), .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ]
        ),
        .target(name: "Metadata", dependencies: ["OCI", "SQLStore", "Retention"]),
        .target(
            name: "BlobStorage",
            dependencies: [
                "OCI", "CLibCrypto",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        .target(name: "Access", dependencies: ["OCI"]),
        .target(
            name: "RegistryCore",
            dependencies: [
                "OCI", "Telemetry", "Retention", "Metadata", "BlobStorage", "Access", "CLibCrypto",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .target(
            name: "Housekeeping",
            dependencies: [
                "OCI", "Telemetry", "Retention", "Metadata", "BlobStorage",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        .target(
            name: "Importing",
            dependencies: [
                "HTTPSyntax", "OCI", "Metadata", "BlobStorage", "Access", "RegistryCore",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        .target(
            name: "HTTPAPI",
            dependencies: [
                "HTTPSyntax", "OCI", "Telemetry", "Retention", "Metadata", "BlobStorage", "Access", "RegistryCore",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOHTTP2", package: "swift-nio-http2"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        .executableTarget(
            name: "strata",
            dependencies: [
                "LoadGenerator",
                "OCI", "Telemetry", "SQLStore", "Retention", "Metadata", "BlobStorage", "Access", "RegistryCore",
                "Housekeeping", "Importing", "HTTPAPI",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Yams", package: "Yams"),
            ]
        ),
        .testTarget(name: "OCITests", dependencies: ["OCI"]),
        .testTarget(name: "RetentionTests", dependencies: ["Retention", "OCI"]),
        .testTarget(
            name: "MetadataTests",
            dependencies: [
                "OCI", "SQLStore", "Retention", "Metadata", .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        .testTarget(
            name: "BlobStorageTests",
            dependencies: ["BlobStorage", .product(name: "Logging", package: "swift-log")]
        ),
        .testTarget(name: "ImportingTests", dependencies: ["Importing"]),
        .testTarget(name: "HTTPAPITests", dependencies: ["HTTPAPI", "HTTPSyntax"]),
        .testTarget(
            name: "StrataTests",
            dependencies: [
                "strata", "OCI", "SQLStore", "Metadata", "BlobStorage", "RegistryCore", "Housekeeping",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]
        ),
        .testTarget(
            name: "SimulationTests",
            dependencies: [
                "OCI", "Retention", "Telemetry", "SQLStore", "Metadata", "BlobStorage", "Access", "RegistryCore",
                "Housekeeping",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
            ]
        ),
        .testTarget(name: "TidyTests"),
    ],
    swiftLanguageModes: [.v6]
)

// Built only by `make fuzz`: a fuzz target has no main without the fuzzer's runtime.
if Context.environment["STRATA_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "fuzz-parsers",
            dependencies: ["HTTPSyntax", "OCI", "Retention"],
            path: "Fuzz/Parsers",
            swiftSettings: [.unsafeFlags(["-parse-as-library"])]
        )
    )
}

for target in package.targets where target.type != .system {
    target.swiftSettings = settings + (target.swiftSettings ?? [])
}
