import NIOPosix
import Synchronization

/// Work that waits for a thread, and is either done or given up. The threads may all be busy for longer than anybody waits.
final class QueuedWork<Result: Sendable>: Sendable {
    private let waiting = Mutex<CheckedContinuation<Result, any Error>?>(nil)

    /// - Parameters:
    ///   - deadline: when the work is given up that no thread has begun.
    ///   - error: thrown then.
    static func run(
        on threads: NIOThreadPool,
        until deadline: ContinuousClock.Instant,
        orElse error: any Error,
        _ body: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        let work = QueuedWork()
        return try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask { try await work.run(on: threads, body) }
            group.addTask {
                // Cancelled once the work is done.
                if (try? await Task.sleep(until: deadline, clock: .continuous)) != nil { work.giveUp(error) }
                return nil
            }
            defer { group.cancelAll() }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw error
        }
    }

    private func run(on threads: NIOThreadPool, _ body: @escaping @Sendable () throws -> Result) async throws -> Result
    {
        try await withCheckedThrowingContinuation { continuation in
            waiting.withLock { $0 = continuation }
            threads.submit { [self] state in
                guard let continuation = take() else { return }
                switch state {
                case .active: continuation.resume(with: Swift.Result(catching: body))
                case .cancelled: continuation.resume(throwing: CancellationError())
                }
            }
        }
    }

    private func giveUp(_ error: any Error) { take()?.resume(throwing: error) }

    /// The continuation, for whoever asks first.
    private func take() -> CheckedContinuation<Result, any Error>? {
        waiting.withLock { waiting in
            defer { waiting = nil }
            return waiting
        }
    }
}
