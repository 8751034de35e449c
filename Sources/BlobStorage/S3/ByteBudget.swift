import Synchronization

/// Bytes of memory that many uploads share. Who wants more than is free waits, and with it its client's socket.
final class ByteBudget: Sendable {
    /// Bytes that are ours until the last reference goes.
    final class Permit: Sendable {
        private let budget: ByteBudget
        private let count: Int

        fileprivate init(_ budget: ByteBudget, _ count: Int) { (self.budget, self.count) = (budget, count) }

        deinit { budget.giveBack(count) }
    }

    private struct State {
        var free: Int
        var waiting: [(Int, CheckedContinuation<Void, Never>)] = []
    }

    private let total: Int
    private let state: Mutex<State>

    init(_ total: Int) {
        self.total = total
        state = Mutex(State(free: total))
    }

    /// Whoever takes bytes must be able to give them back without taking more.
    func take(_ wanted: Int) async -> Permit {
        let count = min(wanted, total)
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                guard state.waiting.isEmpty, state.free >= count else {
                    state.waiting.append((count, continuation))
                    return false
                }
                state.free -= count
                return true
            }
            if isFree { continuation.resume() }
        }
        return Permit(self, count)
    }

    /// For what can also wait: gives bytes only while not more than half of all are taken, so that the rest is there for
    /// those who hold none.
    func takeSpare(_ wanted: Int) -> Permit? {
        let isFree = state.withLock { state in
            guard state.waiting.isEmpty, state.free - wanted >= total / 2 else { return false }
            state.free -= wanted
            return true
        }
        return isFree ? Permit(self, wanted) : nil
    }

    private func giveBack(_ count: Int) {
        let next = state.withLock { state in
            state.free += count
            var next: [CheckedContinuation<Void, Never>] = []
            while let (wanted, continuation) = state.waiting.first, wanted <= state.free {
                state.free -= wanted
                state.waiting.removeFirst()
                next.append(continuation)
            }
            return next
        }
        for continuation in next { continuation.resume() }
    }
}
