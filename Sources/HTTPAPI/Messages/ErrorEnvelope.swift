import BlobStorage
import FoundationEssentials
import NIOHTTP1
import OCI
import RegistryCore

/// How failures are told to clients: the only place that picks a status for an error.
/// Source: [distribution-spec, Error codes](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes).
enum ErrorEnvelope {
    static func response(to error: RegistryError, _ headers: HTTPHeaders = [:]) -> HTTPResponse {
        response(error.entries, status: status(of: error.code), headers)
    }

    static func response(to error: HTTPParserError) -> HTTPResponse {
        if error == .headerOverflow {
            return response(
                to: RegistryError(.headerTooLarge, "The request's headers are larger than this server accepts.")
            )
        }
        return response(to: RegistryError(.requestInvalid, "This is not an HTTP request: \(error)."))
    }

    /// - Parameter status: where it must differ from the one of the code.
    static func response(
        _ entries: [RegistryError.Entry],
        status: HTTPResponseStatus,
        _ headers: HTTPHeaders = [:]
    ) -> HTTPResponse {
        struct Envelope: Encodable { let errors: [Item] }
        struct Item: Encodable {
            let code: String
            let message: String
            let detail: [String: String]?
        }
        let items = entries.map {
            Item(code: $0.code.rawValue, message: $0.message, detail: $0.detail.isEmpty ? nil : $0.detail)
        }
        return HTTPResponse(status, headers, text: JSON.text(Envelope(errors: items)), type: "application/json")
    }

    private static func status(of code: RegistryError.Code) -> HTTPResponseStatus {
        switch code {
        case .blobUnknown, .blobUploadUnknown, .manifestUnknown, .nameUnknown, .notFound: .notFound
        case .blobUploadInvalid, .digestInvalid, .manifestInvalid, .nameInvalid, .tagInvalid, .sizeInvalid,
            .paginationNumberInvalid, .requestInvalid:
            .badRequest
        case .manifestBlobUnknown: .notFound
        case .unauthorized: .unauthorized
        case .denied: .forbidden
        case .unsupported: .methodNotAllowed
        case .tooManyRequests: .tooManyRequests
        case .preconditionFailed: .preconditionFailed
        case .headerTooLarge: .requestHeaderFieldsTooLarge
        case .bodyTooLarge: .payloadTooLarge
        case .mediaTypeUnsupported: .unsupportedMediaType
        case .insufficientStorage: .insufficientStorage
        case .unavailable: .serviceUnavailable
        case .uploadBusy: .conflict
        case .internalError: .internalServerError
        }
    }
}

enum JSON {
    static func text(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        guard let data = try? encoder.encode(value) else {
            preconditionFailure("strings, integers and lists of them can always be written as JSON")
        }
        return String(decoding: data, as: UTF8.self)
    }
}
