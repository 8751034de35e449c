import SQLStore

/// Work that comes back, and that one process does at a time.
package struct Job: Hashable, Sendable {
    package let name: String
    /// How long after its end it is due again. Milliseconds.
    package let interval: Int64
    /// How long it may go on without ``MetadataStore/keep(_:)`` before another process takes it over. Milliseconds.
    package let claim: Int64

    package init(_ name: String, interval: Duration, claim: Duration) {
        (self.name, self.interval, self.claim) = (name, interval.milliseconds, claim.milliseconds)
    }
}

extension MetadataStore {
    /// - Returns: whether the job is due and this process's to do.
    package func claim(_ job: Job) async throws -> Bool {
        try await database.write { db in
            try db.run("INSERT INTO job (name, due_at) VALUES (\(job.name), \(db.now)) ON CONFLICT (name) DO NOTHING")
            try db.run(
                """
                UPDATE job SET claimed_until = \(db.now + job.claim) WHERE name = \(job.name) AND due_at <= \(db.now)
                AND (claimed_until IS NULL OR claimed_until <= \(db.now))
                """
            )
            return db.changes == 1
        }
    }

    /// Says that a claimed job goes on.
    package func keep(_ job: Job) async throws {
        try await database.write { db in
            try db.run("UPDATE job SET claimed_until = \(db.now + job.claim) WHERE name = \(job.name)")
        }
    }

    /// Ends a claimed job until it is due again.
    package func finish(_ job: Job) async throws {
        try await database.write { db in
            try db.run(
                "UPDATE job SET claimed_until = NULL, due_at = \(db.now + job.interval) WHERE name = \(job.name)"
            )
        }
    }
}
