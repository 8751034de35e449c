import Glibc
import Synchronization

/// A server's clock as this process knows it: the machine's own time since it started, and how far the server is ahead of
/// that. All connections share one, so that what one transaction makes due at once is due to the next.
final class ServerClock: Sendable {
    /// Microseconds.
    private struct State {
        var ahead: Int64?
        var heardAt: Int64 = 0
    }

    private let state = Mutex(State())

    /// Microseconds.
    private static let maximumAge: Int64 = 60_000_000

    /// Milliseconds since 1970, or nil if the server must be asked first: it was not for a minute.
    var now: Int64? {
        let uptime = Self.uptime
        return state.withLock { state in
            guard let ahead = state.ahead, uptime - state.heardAt <= Self.maximumAge else { return nil }
            return (uptime + ahead) / 1000
        }
    }

    /// Takes note of an answer, which was given at some moment between question and answer. What is known already is kept
    /// if it agrees with that, and else is moved by no more than what it takes.
    ///
    /// - Parameters:
    ///   - time: what the server said, in microseconds since 1970.
    ///   - askedAt: ``uptime`` of the question.
    func heard(_ time: Int64, askedAt: Int64) {
        let answeredAt = Self.uptime
        let (least, most) = (time - answeredAt, time - askedAt)
        state.withLock { state in
            state.ahead = min(max(state.ahead ?? least, least), most)
            state.heardAt = answeredAt
        }
    }

    /// Microseconds since this machine started, while it slept, too.
    static var uptime: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }
}
