import HTTPSyntax
import Metadata
import NIOHTTP1
import OCI

/// Digests as entity tags. Source: [RFC 9110, 8.8.3 and 13.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1).
enum EntityTag {
    static func text(_ digest: Digest) -> String { "\"\(digest)\"" }

    /// Whether `If-None-Match` names the digest, so that the client has the content already.
    static func isKnown(_ digest: Digest, to headers: HTTPHeaders) -> Bool {
        let values = list(headers["If-None-Match"])
        return values.contains("*") || values.contains { weakless($0) == text(digest) }
    }

    /// What a write asks of the present state.
    ///
    /// - Throws: ``RegistryError`` `.requestInvalid` for a condition that we cannot hold.
    static func condition(_ headers: HTTPHeaders) throws -> TagCondition {
        let absent = try condition("If-None-Match", headers)
        let present = try condition("If-Match", headers)
        guard absent.isEmpty || present.isEmpty else {
            throw RegistryError(.requestInvalid, "Send If-Match or If-None-Match, not both.")
        }
        if !absent.isEmpty {
            guard absent == ["*"] else {
                throw RegistryError(
                    .requestInvalid,
                    "A write accepts If-None-Match only as '*': the tag must not exist yet."
                )
            }
            return .isAbsent
        }
        if present.isEmpty { return .none }
        // What is no digest of ours matches nothing, but still is a condition.
        return present.contains("*") ? .names([]) : .names(try present.map { try digest($0) })
    }

    /// - Throws: ``RegistryError`` `.requestInvalid` where the header is there without a value: what was meant to be written only
    ///   under a condition, by a script whose variable is empty perhaps, is not written without one.
    private static func condition(_ header: String, _ headers: HTTPHeaders) throws -> [String] {
        let values = list(headers[header])
        guard !values.isEmpty || !headers.contains(name: header) else {
            throw RegistryError(.requestInvalid, "\(header) is empty; leave it out, or send an entity tag.")
        }
        return values
    }

    private static func digest(_ tag: String) throws -> Digest {
        do {
            return try Digest(
                parsing: tag.hasPrefix("\"") && tag.hasSuffix("\"") ? String(tag.dropFirst().dropLast()) : tag
            )
        } catch {
            throw RegistryError(.requestInvalid, "If-Match must hold entity tags of manifests, such as \"sha256:…\".")
        }
    }

    /// The values of a list header; entity tags of ours hold no commas.
    private static func list(_ values: [String]) -> [String] {
        values.flatMap { $0.split(separator: ",") }.map(\.trimmed).filter { !$0.isEmpty }
    }

    private static func weakless(_ tag: String) -> String { tag.hasPrefix("W/") ? String(tag.dropFirst(2)) : tag }
}
