@testable import Metadata
import SQLStore
import Testing

@Suite("An object that the store refuses to delete")
struct RefusedDeletionTests {
    private static let minute: Int64 = 60_000
    private static let hour = 60 * minute

    private struct Trash {
        let store: MetadataStore
        let database: any SQLDatabase

        /// Keys that begin with this byte.
        func add(_ kind: UInt8, _ numbers: ClosedRange<UInt8>, dueFor time: Int64 = 0) async throws {
            try await database.write { db in
                for number in numbers {
                    let key = [kind, number] + Array(repeating: UInt8(0), count: 14)
                    try db.run("INSERT INTO object_trash (skey, delete_after) VALUES (\(key), \(db.now - time))")
                }
            }
        }

        func wait(_ time: Int64) async throws {
            try await database.write { db in
                try db.run(
                    """
                    UPDATE object_trash SET delete_after = delete_after - \(time), claimed_until = claimed_until - \(time)
                    """
                )
            }
        }

        /// A step of a deleter that can delete all but those that begin with this byte.
        func deleteDue(but refused: UInt8, limit: Int) async throws {
            let claimed = try await store.confirm(try await store.claimTrash(limit: limit)).map(\.key)
            try await store.forget(claimed.filter { $0[0] != refused })
        }
    }

    @Test("does not come before all others each time that it is tried again", arguments: Engine.available)
    func order(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let trash = Trash(store: store, database: database)
            try await trash.add(1, 1...4, dueFor: Self.hour)
            for number in 1...20 as ClosedRange<UInt8> {
                try await trash.add(2, number...number)
                try await trash.wait(11 * Self.minute)
                // As many as are refused: more are never deleted meanwhile.
                try await trash.deleteDue(but: 1, limit: 4)
            }
            let left = try await database.read { try $0.run("SELECT count(*) FROM object_trash").first?.int(0) }
            #expect(left == 4)
        }
    }

    @Test("is tried again for ever, after twice the time up to a day", arguments: Engine.available)
    func pauses(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let trash = Trash(store: store, database: database)
            try await trash.add(1, 1...1)
            for minutes in [10, 20, 40, 80, 160, 320, 640, 1280, 1280] as [Int64] {
                #expect(try await store.claimTrash(limit: 1).count == 1)
                try await trash.wait((minutes - 1) * Self.minute)
                #expect(try await store.claimTrash(limit: 1) == [])
                try await trash.wait(Self.minute + 1000)
            }
        }
    }

    @Test("is told of as overdue, and is no reason to hurry", arguments: Engine.available)
    func lag(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let trash = Trash(store: store, database: database)
            try await trash.add(1, 1...1, dueFor: 10 * Self.hour)
            #expect(try #require(try await store.collectionStatus().lag[.objects]) >= 10 * Self.hour)
            for _ in 1...2 {
                try await trash.deleteDue(but: 1, limit: 4)
                try await trash.wait(11 * Self.minute)
            }
            let status = try await store.collectionStatus()
            #expect(try #require(status.lag[.objects]) < Self.hour)
            #expect(status.oldestTrash >= 10 * Self.hour)
        }
    }
}
