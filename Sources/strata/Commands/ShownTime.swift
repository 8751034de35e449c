import Foundation

extension Int64 {
    /// Milliseconds since 1970, as people read them.
    var shownAsTime: String { Date(timeIntervalSince1970: Double(self) / 1000).formatted(.iso8601) }
}
