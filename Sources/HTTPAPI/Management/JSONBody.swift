import FoundationEssentials
import HTTPSyntax
import NIOCore
import OCI
import Retention

/// What a request of the management API may send. A field that it does not know is refused: a client that asks for
/// something must not believe that it got it.
protocol JSONBody: Decodable {
    associatedtype CodingKeys: CodingKey & CaseIterable
}

extension ManagementCall {
    /// - Throws: ``RegistryError`` `.mediaTypeUnsupported`, `.bodyTooLarge`, `.requestInvalid`.
    func body<Body: JSONBody>(_ type: Body.Type) async throws -> Body {
        try body(Body.self, in: try await bytes())
    }

    /// - Parameter bytes: of the body.
    /// - Throws: ``RegistryError`` `.requestInvalid`.
    func body<Body: JSONBody>(_ type: Body.Type, in bytes: [UInt8]) throws -> Body {
        do {
            try JSONText.check(bytes)
        } catch {
            throw RegistryError(.requestInvalid, "\(error)")
        }
        return try Self.decode(Body.self, from: Data(bytes))
    }

    /// The body as it was sent, which says that it is JSON.
    ///
    /// - Throws: ``RegistryError`` `.mediaTypeUnsupported`, `.bodyTooLarge`.
    func bytes() async throws -> [UInt8] {
        // Also keeps web pages from sending one unasked: this media type makes a browser ask the server first.
        let mediaType = request.header("Content-Type")?.split(separator: ";").first.map { String($0).trimmed }
        guard mediaType?.lowercased() == "application/json" else {
            throw RegistryError(.mediaTypeUnsupported, "Send a JSON object, with Content-Type: application/json.")
        }
        guard let bytes = try await request.body.collect(upTo: Self.maximumBody) else {
            throw RegistryError(.bodyTooLarge, "The body has more than \(Self.maximumBody) bytes.")
        }
        return Array(bytes.readableBytesView)
    }

    private static func decode<Body: JSONBody>(_ type: Body.Type, from data: Data) throws -> Body {
        do {
            let found = try JSONDecoder().decode(JSONFields.self, from: data).names
            let known = Set(Body.CodingKeys.allCases.map(\.stringValue))
            if let unknown = found.first(where: { !known.contains($0) }) {
                throw RegistryError(
                    .requestInvalid,
                    "There is no field '\(unknown.prefix(100))' here; the fields are \(known.sorted().joined(separator: ", ")).",
                    detail: ["field": String(unknown.prefix(100))]
                )
            }
            return try JSONDecoder().decode(Body.self, from: data)
        } catch let error as DecodingError {
            throw RegistryError(.requestInvalid, error.sentence)
        }
    }
}

/// The names of an object's fields, in order.
private struct JSONFields: Decodable {
    let names: [String]

    init(from decoder: any Decoder) throws {
        names = try decoder.container(keyedBy: AnyKey.self).allKeys.map(\.stringValue).sorted()
    }

    private struct AnyKey: CodingKey {
        let stringValue: String
        let intValue: Int? = nil

        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

extension DecodingError {
    /// What is wrong with a document, for whoever wrote it.
    fileprivate var sentence: String {
        func name(_ path: [any CodingKey]) -> String { path.map(\.stringValue).joined(separator: ".") }
        switch self {
        case .keyNotFound(let key, let context):
            return "The field '\(name(context.codingPath + [key]))' is missing."
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return context.codingPath.isEmpty
                ? "The body must be a JSON object." : "The field '\(name(context.codingPath))' is of the wrong kind."
        case .dataCorrupted: return "The body is not valid JSON."
        @unknown default: return "The body cannot be read."
        }
    }
}
