import NIOPosix
import Testing

@testable import SQLStore

/// One connection to the test server, whose statements a test interleaves with those of others. A statement that waits
/// blocks a thread of the connection's own and no other.
final class Session: Sendable {
    private let threads = NIOThreadPool(numberOfThreads: 1)
    // Used by one thread at a time: here, then only by that of the pool.
    private nonisolated(unsafe) let connection: PostgresConnection
    private let process: String

    init(_ settings: PostgresDatabase.Settings) throws {
        connection = try PostgresConnection(
            settings.url,
            setup: "SET lock_timeout = '10s'; SET deadlock_timeout = '20ms'",
            preparesStatements: false,
            clock: ServerClock()
        )
        process = try connection.script("SELECT pg_backend_pid()")
        threads.start()
    }

    deinit { threads.shutdownGracefully { _ in } }

    /// - Returns: the first column of the last statement's first row, what it says of itself (`DELETE 1`), or the state
    ///   of the error that it ended with (`23503`).
    @discardableResult
    func run(_ sql: String) async throws -> String {
        try await threads.runIfActive { [self] in
            do {
                return try connection.script(sql)
            } catch let error as PostgresError where error.message.hasSuffix(")") {
                return String(error.message.suffix(6).dropLast())
            }
        }
    }

    /// Returns once `other` waits for a lock.
    func waitUntilBlocked(_ other: Session) async throws {
        try await waitUntilBlocked(count: 1, where: "pid = \(other.process)")
    }

    /// Returns once so many connections to this database, such as a pool's, wait for locks. Not inside a transaction,
    /// which would be shown the same moment again and again.
    func waitUntilBlocked(count: Int, where condition: String = "true") async throws {
        let deadline = ContinuousClock.now + .seconds(5)
        while ContinuousClock.now < deadline {
            let waiting = try await run(
                """
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock' AND \(condition)
                """
            )
            if Int(waiting) == count { return }
            try await Task.sleep(for: .milliseconds(2))
        }
        throw NobodyWaits()
    }

    private struct NobodyWaits: Error {}
}
