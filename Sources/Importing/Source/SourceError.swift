/// Why something could not be had from the source: a sentence for an operator.
package enum SourceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The source does not hold it.
    case notFound(String)
    /// It wants to know who asks, or does not allow it to whoever does.
    case unauthorized(String)
    /// It answers what cannot be used; another try would be no better.
    case refused(String)
    /// All tries failed.
    case unavailable(String)
    /// It has stopped to answer at all: nothing more is tried.
    case gone(String)

    package var description: String {
        switch self {
        case .notFound(let subject): "The source does not hold \(subject)."
        case .unauthorized(let reason), .refused(let reason), .unavailable(let reason), .gone(let reason): reason
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
