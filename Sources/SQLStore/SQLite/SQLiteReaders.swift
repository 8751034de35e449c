import GRDB
import Synchronization

/// Read-only connections, opened when first needed and kept.
final class SQLiteReaders: Sendable {
    private let path: String
    private let idle = Mutex<[DatabaseQueue]>([])
    private let count: Int

    /// - Parameter count: how many idle connections are kept.
    init(path: String, count: Int) {
        self.path = path
        self.count = count
    }

    func withReader<Result>(_ body: (Database) throws -> Result) throws -> Result {
        let reader = try idle.withLock { $0.popLast() } ?? open()
        defer {
            idle.withLock { idle in
                if idle.count < count { idle.append(reader) }
            }
        }
        return try reader.unsafeReentrantRead { db in
            try db.cachedStatement(sql: "BEGIN DEFERRED TRANSACTION").execute()
            defer { try? db.cachedStatement(sql: "COMMIT").execute() }  // of a read: nothing to lose
            return try body(db)
        }
    }

    private func open() throws -> DatabaseQueue {
        var configuration = GRDB.Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA cache_size = -4096")
        }
        return try DatabaseQueue(path: path, configuration: configuration)
    }
}
