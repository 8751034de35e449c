import Synchronization

/// Whether the registry can serve now, told within the time for which a probe waits: a store that is down may take much
/// longer to say so.
package final class Readiness: Sendable {
    /// What must answer for the registry to be of use.
    package struct Check: Sendable {
        let subject: String
        let ask: @Sendable () async throws -> Void

        /// - Parameters:
        ///   - subject: who is asked, such as `the database`.
        ///   - ask: throws if it cannot be used now.
        package init(_ subject: String, _ ask: @escaping @Sendable () async throws -> Void) {
            (self.subject, self.ask) = (subject, ask)
        }
    }

    /// Why it is not ready. What the store itself says is for the log, not for whoever asked.
    struct Refusal: Error {
        let reason: String
        var cause: (any Error)?
    }

    private typealias Answer = Result<Void, Refusal>

    private struct State {
        var waiting: [Int: AsyncStream<Answer>.Continuation] = [:]
        var count = 0
        /// Who is being asked.
        var subject = "nobody"
    }

    /// Shorter than the three seconds for which deploy/kubernetes waits.
    private static let patience = Duration.seconds(2)

    private let checks: [Check]
    private let state = Mutex(State())
    private let (wishes, wish) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))

    package init(_ checks: [Check]) { self.checks = checks }

    /// Asks the stores when somebody wants to know, once for all who wait, until its task is cancelled.
    package func run() async {
        for await _ in wishes {
            let answer = await ask()
            let waiting = state.withLock { state in
                defer { state.waiting = [:] }
                return state.waiting.values
            }
            for one in waiting { one.yield(answer) }
        }
    }

    private func ask() async -> Answer {
        for check in checks {
            state.withLock { $0.subject = check.subject }
            do {
                try await check.ask()
            } catch {
                return .failure(Refusal(reason: "\(check.subject) cannot be used", cause: error))
            }
        }
        return .success(())
    }

    /// - Throws: ``Refusal``.
    func require() async throws {
        let (answers, continuation) = AsyncStream<Answer>.makeStream()
        let ticket = state.withLock { state in
            state.count += 1
            state.waiting[state.count] = continuation
            return state.count
        }
        defer { _ = state.withLock { $0.waiting.removeValue(forKey: ticket) } }
        wish.yield()
        let answer = await withTaskGroup(of: Answer?.self) { group in
            group.addTask { await answers.first { _ in true } }
            group.addTask {
                try? await Task.sleep(for: Self.patience)  // cancelled once there is an answer
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
        guard let answer else {
            let subject = state.withLock { $0.subject }
            throw Refusal(reason: "\(subject) has not answered within \(Self.patience.components.seconds) s")
        }
        try answer.get()
    }
}
