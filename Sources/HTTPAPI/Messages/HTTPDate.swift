import Foundation
import Synchronization

/// The time as the `Date` header gives it, composed once a second.
/// Source: [RFC 9110, section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
enum HTTPDate {
    private static let latest = Mutex((second: time_t(-1), text: ""))

    static var now: String {
        var second = time(nil)
        return latest.withLock { latest in
            if latest.second != second {
                var parts = tm()
                gmtime_r(&second, &parts)
                latest = (second, text(parts))
            }
            return latest.text
        }
    }

    private static func text(_ time: tm) -> String {
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return """
            \(days[Int(time.tm_wday)]), \(two(time.tm_mday)) \(months[Int(time.tm_mon)]) \(time.tm_year + 1900) \
            \(two(time.tm_hour)):\(two(time.tm_min)):\(two(time.tm_sec)) GMT
            """
    }
}
