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
    /// - Returns: how far the job had come when it was stopped, empty if it begins; nil if it is not due or not this process's
    ///   to do.
    package func claim(_ job: Job) async throws -> String? {
        try await database.write { db in
            try db.run("INSERT INTO job (name, due_at) VALUES (\(job.name), \(db.now)) ON CONFLICT (name) DO NOTHING")
            return try db.run(
                """
                UPDATE job SET claimed_until = \(db.now + job.claim) WHERE name = \(job.name) AND due_at <= \(db.now)
                AND (claimed_until IS NULL OR claimed_until <= \(db.now)) RETURNING coalesce(progress, '')
                """
            ).first?.text(0)
        }
    }

    /// Says that a claimed job goes on.
    ///
    /// - Parameter progress: how far it has come; nil if no further than was said.
    package func keep(_ job: Job, at progress: String? = nil) async throws {
        try await database.write { db in
            try db.run(
                """
                UPDATE job SET claimed_until = \(db.now + job.claim), progress = coalesce(\(optional: progress), progress)
                WHERE name = \(job.name)
                """
            )
        }
    }

    /// Ends a claimed job until it is due again.
    package func finish(_ job: Job) async throws {
        try await database.write { db in
            try db.run(
                """
                UPDATE job SET claimed_until = NULL, progress = NULL, due_at = \(db.now + job.interval)
                WHERE name = \(job.name)
                """
            )
        }
    }
}
