/// All that a client is ever told about a failure: a code of the specification and a sentence to act on.
/// Source: [distribution-spec, Error codes](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes).
package struct RegistryError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        case blobUnknown = "BLOB_UNKNOWN"
        case blobUploadInvalid = "BLOB_UPLOAD_INVALID"
        case blobUploadUnknown = "BLOB_UPLOAD_UNKNOWN"
        case digestInvalid = "DIGEST_INVALID"
        case manifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
        case manifestInvalid = "MANIFEST_INVALID"
        case manifestUnknown = "MANIFEST_UNKNOWN"
        case nameInvalid = "NAME_INVALID"
        case nameUnknown = "NAME_UNKNOWN"
        case paginationNumberInvalid = "PAGINATION_NUMBER_INVALID"
        case sizeInvalid = "SIZE_INVALID"
        case tagInvalid = "TAG_INVALID"
        case unauthorized = "UNAUTHORIZED"
        case denied = "DENIED"
        case unsupported = "UNSUPPORTED"
        case tooManyRequests = "TOOMANYREQUESTS"
        // Codes of our own, for what the specification does not name.
        case notFound = "NOT_FOUND"
        case preconditionFailed = "PRECONDITION_FAILED"
        case requestInvalid = "REQUEST_INVALID"
        case headerTooLarge = "HEADER_TOO_LARGE"
        case bodyTooLarge = "BODY_TOO_LARGE"
        case mediaTypeUnsupported = "MEDIA_TYPE_UNSUPPORTED"
        case insufficientStorage = "INSUFFICIENT_STORAGE"
        case unavailable = "UNAVAILABLE"
        case uploadBusy = "UPLOAD_BUSY"
        case internalError = "INTERNAL_ERROR"
    }

    /// One entry of the envelope.
    package struct Entry: Hashable, Sendable {
        package let code: Code
        package let message: String
        /// Facts for programs, such as the digest that was missing.
        package let detail: [String: String]

        package init(_ code: Code, _ message: String, detail: [String: String] = [:]) {
            self.code = code
            self.message = message
            self.detail = detail
        }
    }

    /// At least one.
    package let entries: [Entry]
    package var code: Code { entries.first?.code ?? .internalError }

    package init(_ code: Code, _ message: String, detail: [String: String] = [:]) {
        entries = [Entry(code, message, detail: detail)]
    }

    package init(_ entries: [Entry]) {
        precondition(!entries.isEmpty, "an error says something")
        self.entries = entries
    }

    package var description: String { entries.map { "\($0.code.rawValue): \($0.message)" }.joined(separator: " ") }
}
