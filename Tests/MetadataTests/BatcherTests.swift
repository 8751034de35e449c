import Testing

@testable import Metadata

/// On one actor, so that the order is known: a task that has counted itself has submitted when the next one runs.
@MainActor
@Suite("Work that is gathered", .timeLimit(.minutes(1)))
struct BatcherTests {
    @MainActor private final class Scene {
        /// Sizes of the batches that have begun, and what they wait for.
        var begun: [Int] = []
        var gates: [CheckedContinuation<Void, Never>] = []
        var submitted = 0

        func perform(_ items: [Int]) async throws -> [Result<Int, any Error>] {
            begun.append(items.count)
            await withCheckedContinuation { gates.append($0) }
            return items.map { .success(-$0) }
        }

        func submit(_ item: Int, to batcher: Batcher<Int, Int>) async throws -> Int {
            submitted += 1
            return try await batcher.submit(item)
        }

        func open() { gates.removeFirst().resume() }
    }

    /// Submits so many items, and lets batches end once as many have begun as are expected, each time the oldest.
    private func sizes(_ items: Int, patience: Duration?, untilBegun expected: [Int]) async throws -> [Int] {
        let scene = Scene()
        let batcher = Batcher<Int, Int>(patience: patience) { try await scene.perform($0) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for item in 0..<items {
                group.addTask { try await scene.submit(item, to: batcher) == -item }
                while scene.submitted <= item { await Task.yield() }
            }
            for count in expected {
                while scene.gates.count < count { await Task.yield() }
                scene.open()
            }
            for try await isAnswered in group { #expect(isAnswered) }
        }
        return scene.begun
    }

    @Test("begins at once, then when the batch under way has ended, or earlier if the next one is full")
    func gathers() async throws {
        let limit = Batcher<Int, Int>.limit
        #expect(try await sizes(limit + 8, patience: nil, untilBegun: [2, 1, 1]) == [1, limit, 7])
    }

    @Test("does not wait for a batch that is slow")
    func passes() async throws {
        #expect(try await sizes(3, patience: .zero, untilBegun: [3, 2, 1]) == [1, 1, 1])
    }
}
