import Foundation

/// What an image runs on, as `os/architecture` or `os/architecture/variant`; for Windows, whose images run on one build of it
/// only, with that in the end, as `windows/amd64/10.0.20348`.
/// Source: [image-spec, Image Index](https://github.com/opencontainers/image-spec/blob/main/image-index.md) and
/// [Configuration](https://github.com/opencontainers/image-spec/blob/main/config.md).
package enum Platforms: Hashable, Sendable {
    /// An index says it of each manifest that it lists; distinct, in the order of their names.
    case listed([String])
    /// An image says it in its configuration, which is this blob.
    case inConfiguration(Digest)

    private struct Document: Decodable {
        struct Descriptor: Decodable {
            let digest: String?
            let platform: Platform?
        }

        let manifests: [Descriptor]?
        let config: Descriptor?
    }

    private struct Platform: Decodable {
        let os: String?
        let architecture: String?
        let variant: String?
        let osVersion: String?

        private enum CodingKeys: String, CodingKey {
            case os, architecture, variant
            case osVersion = "os.version"
        }

        /// Attestations are listed with a platform that is none.
        var text: String? {
            guard let os, let architecture, os != "unknown", !os.isEmpty, !architecture.isEmpty else { return nil }
            let build = os == "windows" ? osVersion?.split(separator: ".").prefix(3).joined(separator: ".") : nil
            return [os, architecture, variant, build].compactMap(\.self).joined(separator: "/")
        }
    }

    /// - Parameter payload: a manifest; of one that says nothing of platforms the list is empty.
    package init(ofManifest payload: [UInt8]) {
        let document = try? JSONDecoder().decode(Document.self, from: Data(payload))
        if let manifests = document?.manifests {
            self = .listed(Set(manifests.compactMap { $0.platform?.text }).sorted())
        } else if let digest = document?.config?.digest.flatMap({ try? Digest(parsing: $0) }) {
            self = .inConfiguration(digest)
        } else {
            self = .listed([])
        }
    }

    /// Whether a platform was perhaps written down before builds were: its configuration is to be read again.
    package static func mayLackBuild(_ platform: String) -> Bool {
        platform.hasPrefix("windows/") && platform.split(separator: "/").count == 2
    }

    /// - Returns: nil if the configuration is not an image's.
    package static func platform(ofConfiguration bytes: [UInt8]) -> String? {
        (try? JSONDecoder().decode(Platform.self, from: Data(bytes)))?.text
    }
}
