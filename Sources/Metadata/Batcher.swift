import Synchronization

/// Gathers what many tasks want done, so that it is done together: while as many batches as pay off are under way, more
/// gather for the next one. Nothing waits when there is nothing to wait for.
final class Batcher<Item: Sendable, Outcome: Sendable>: Sendable {
    typealias Perform = @Sendable ([Item]) async throws -> [Result<Outcome, any Error>]

    private struct Pending {
        var items: [(Item, CheckedContinuation<Outcome, any Error>)] = []
        var underWay = 0
    }

    private let concurrent: Int
    private let perform: Perform
    private let pending = Mutex(Pending())

    /// Most items of a batch.
    private static var limit: Int { 64 }

    /// - Parameters:
    ///   - concurrent: how many batches are under way at most.
    ///   - perform: answers for each item, in their order; what it throws is the answer for all.
    init(concurrent: Int, _ perform: @escaping Perform) {
        self.concurrent = concurrent
        self.perform = perform
    }

    func submit(_ item: Item) async throws -> Outcome {
        try await withCheckedThrowingContinuation { continuation in
            let starts = pending.withLock { pending in
                pending.items.append((item, continuation))
                guard pending.underWay < concurrent else { return false }
                pending.underWay += 1
                return true
            }
            // Unstructured: who submits must not wait for, nor cancel, what others submitted after it.
            if starts { Task { await drain() } }
        }
    }

    private func drain() async {
        while let batch = next() {
            do {
                let outcomes = try await perform(batch.map(\.0))
                for ((_, continuation), outcome) in zip(batch, outcomes) { continuation.resume(with: outcome) }
            } catch {
                for (_, continuation) in batch { continuation.resume(throwing: error) }
            }
        }
    }

    private func next() -> [(Item, CheckedContinuation<Outcome, any Error>)]? {
        pending.withLock { pending in
            guard !pending.items.isEmpty else {
                pending.underWay -= 1
                return nil
            }
            let batch = Array(pending.items.prefix(Self.limit))
            pending.items.removeFirst(batch.count)
            return batch
        }
    }
}
