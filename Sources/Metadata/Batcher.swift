import Synchronization

/// Gathers what many tasks want done, so that it is done together: while a batch is under way, more gather for the next
/// one. Nothing waits when there is nothing to wait for, nor for a batch that is slow, as one that waits for a lock.
///
/// Two half-full batches at a time would cost more in all, and keep their items waiting for longer.
final class Batcher<Item: Sendable, Outcome: Sendable>: Sendable {
    typealias Perform = @Sendable ([Item]) async throws -> [Result<Outcome, any Error>]

    private struct Pending {
        var items: [(Item, CheckedContinuation<Outcome, any Error>)] = []
        /// Batches.
        var underWay = 0
        /// When the latest of them began.
        var begun = ContinuousClock.now
    }

    private let patience: Duration?
    private let perform: Perform
    private let pending = Mutex(Pending())

    /// Most items of a batch.
    static var limit: Int { 64 }

    /// - Parameters:
    ///   - patience: after so long, who comes next does not wait for the batches under way; nil for however long it takes.
    ///   - perform: answers for each item, in their order; what it throws is the answer for all.
    init(patience: Duration?, _ perform: @escaping Perform) { (self.patience, self.perform) = (patience, perform) }

    func submit(_ item: Item) async throws -> Outcome {
        try await withCheckedThrowingContinuation { continuation in
            let batch = pending.withLock { pending in
                pending.items.append((item, continuation))
                return begin(&pending)
            }
            // Unstructured: who submits must not wait for, nor cancel, what others submitted after it.
            if let batch { Task { await drain(batch) } }
        }
    }

    private func drain(_ first: [(Item, CheckedContinuation<Outcome, any Error>)]) async {
        var next: [(Item, CheckedContinuation<Outcome, any Error>)]? = first
        while let batch = next {
            do {
                let outcomes = try await perform(batch.map(\.0))
                for ((_, continuation), outcome) in zip(batch, outcomes) { continuation.resume(with: outcome) }
            } catch {
                for (_, continuation) in batch { continuation.resume(throwing: error) }
            }
            next = pending.withLock { pending in
                pending.underWay -= 1
                return begin(&pending)
            }
        }
    }

    /// - Returns: the batch that begins now; nil if none does.
    private func begin(_ pending: inout Pending) -> [(Item, CheckedContinuation<Outcome, any Error>)]? {
        let waits = pending.underWay > 0 && pending.items.count < Self.limit
        let isSlow = patience.map { pending.begun + $0 <= .now } ?? false
        guard !pending.items.isEmpty, !waits || isSlow else { return nil }
        pending.underWay += 1
        pending.begun = .now
        let batch = Array(pending.items.prefix(Self.limit))
        pending.items.removeFirst(batch.count)
        return batch
    }
}
