/// Why something could not be had from the source: a sentence for an operator.
package enum SourceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The source does not hold it.
    case notFound(String)
    /// It wants to know who asks, or does not allow it to whoever does.
    case unauthorized(String)
    /// It answers what cannot be used; another try would be no better. The status is there where it is the reason.
    case refused(String, status: Int? = nil)
    /// All tries failed.
    case unavailable(String)
    /// It has stopped to answer at all: nothing more is tried.
    case gone(String)

    package var description: String {
        let text =
            switch self {
            case .notFound(let subject): "The source does not hold \(subject)."
            case .unauthorized(let reason), .refused(let reason, _), .unavailable(let reason), .gone(let reason): reason
            }
        return text.printable
    }

    /// Whether the source may not know such requests at all.
    var isOfUnknownRequest: Bool {
        switch self {
        case .notFound, .refused(_, status: 405?): true
        default: false
        }
    }
}

/// What may go better in a moment. Caught where requests are tried again.
struct TemporaryFailure: Error {
    let reason: String
    /// From `Retry-After`.
    var pause: Duration?
    /// Tries that are worth it.
    var tries: Int
}
