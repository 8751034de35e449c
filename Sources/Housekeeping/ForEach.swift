/// Runs `body` on all items, at most `limit` of them at a time. The first error ends it.
func forEach<Item: Sendable>(
    _ items: [Item],
    atMost limit: Int,
    _ body: @escaping @Sendable (Item) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, item) in items.enumerated() {
            if index >= limit { try await group.next() }  // one out, one in
            group.addTask { try await body(item) }
        }
        try await group.waitForAll()
    }
}
