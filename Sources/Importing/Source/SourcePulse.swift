import Synchronization

/// Whether the source still lives: a thousand tags need not each find out that it does not.
final class SourcePulse: Sendable {
    private struct State {
        var answers = 0
        var end: String?
    }

    private let state = Mutex(State())

    /// - Returns: what ``gaveUp(since:_:)`` compares with.
    /// - Throws: ``SourceError`` `.gone`.
    @discardableResult
    func check() throws -> Int {
        let (answers, end) = state.withLock { ($0.answers, $0.end) }
        if let end { throw SourceError.gone(end) }
        return answers
    }

    func answered() { state.withLock { $0.answers += 1 } }

    /// All tries of a request met silence. If nobody else had an answer meanwhile, the source is gone.
    func gaveUp(since answers: Int, _ reason: String) {
        state.withLock { state in
            if state.answers == answers, state.end == nil {
                state.end = "The source does not answer any more (\(reason)); run the import again when it does."
            }
        }
    }
}
