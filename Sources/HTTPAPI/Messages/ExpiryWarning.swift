import Foundation

/// Tells a client that pulls a tag that a rule will delete it soon.
/// Source: [RFC 7234, 5.5](https://www.rfc-editor.org/rfc/rfc7234#section-5.5), as the distribution specification uses it.
struct ExpiryWarning {
    /// The value of the header `Warning`.
    let text: String

    /// How long before it a client is told. A week: builds that run weekly are told once.
    private static let notice: TimeInterval = 7 * 24 * 3600

    /// - Parameter expiry: milliseconds since 1970.
    /// - Returns: nil if there is time enough.
    init?(_ expiry: Int64, now: Date) {
        let date = Date(timeIntervalSince1970: Double(expiry) / 1000)
        guard date.timeIntervalSince(now) <= Self.notice else { return nil }
        let day = date.formatted(.iso8601)
        text =
            "299 - \"A retention rule deletes this tag after \(day) unless it is pushed again, is pulled if the rule asks for use, or a hold is set.\""
    }
}
