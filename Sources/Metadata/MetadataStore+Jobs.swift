import SQLStore

/// Work that comes back, and that one process does at a time.
package struct Job: Hashable, Sendable {
    package let name: String
    /// How long after its end it is due again. Milliseconds.
    package let interval: Int64
    /// How long it may go on without ``MetadataStore/keep(_:at:)`` before another process takes it over. Milliseconds.
    package let claim: Int64

    package init(_ name: String, interval: Duration, claim: Duration) {
        (self.name, self.interval, self.claim) = (name, interval.milliseconds, claim.milliseconds)
    }
}

/// A job that is this process's to do, until another takes it over.
package struct ClaimedJob: Hashable, Sendable {
    package let job: Job
    /// How far it had come when it was stopped, empty if it begins.
    package let progress: String
    /// When the claim ends, which proves it: no two end at the same time.
    fileprivate var until: Int64
}

/// A job went on for too long without a word, and is another process's by now.
package struct JobTaken: Error, CustomStringConvertible {
    package let job: String
    package var description: String { "another process has taken over the job '\(job)'" }
}

extension MetadataStore {
    /// A job is due, too, if it ended with an interval by which it would not be for long: the interval is another one now.
    ///
    /// - Returns: nil if the job is not due or not this process's to do.
    package func claim(_ job: Job) async throws -> ClaimedJob? {
        try await database.write { db in
            try db.run("INSERT INTO job (name, due_at) VALUES (\(job.name), \(db.now)) ON CONFLICT (name) DO NOTHING")
            let until = db.now + job.claim
            return try db.run(
                """
                UPDATE job SET claimed_until = \(until) WHERE name = \(job.name)
                AND (due_at <= \(db.now) OR due_at > \(until + job.interval))
                AND (claimed_until IS NULL OR claimed_until <= \(db.now)) RETURNING coalesce(progress, '')
                """
            ).first.map { ClaimedJob(job: job, progress: $0.text(0), until: until) }
        }
    }

    /// Says that a claimed job goes on.
    ///
    /// - Parameter progress: how far it has come; nil if no further than was said.
    /// - Throws: ``JobTaken``.
    package func keep(_ claimed: inout ClaimedJob, at progress: String? = nil) async throws {
        let (job, end) = (claimed.job, claimed.until)
        claimed.until = try await database.write { db in
            // Not earlier than before by a clock that was set back, lest another claim ends then.
            let until = max(end, db.now + job.claim)
            try db.run(
                """
                UPDATE job SET claimed_until = \(until), progress = coalesce(\(optional: progress), progress)
                WHERE name = \(job.name) AND claimed_until = \(end)
                """
            )
            guard db.changes == 1 else { throw JobTaken(job: job.name) }
            return until
        }
    }

    /// Ends a claimed job until it is due again.
    ///
    /// - Throws: ``JobTaken``.
    package func finish(_ claimed: ClaimedJob) async throws {
        try await database.write { db in
            try db.run(
                """
                UPDATE job SET claimed_until = NULL, progress = NULL, due_at = \(db.now + claimed.job.interval)
                WHERE name = \(claimed.job.name) AND claimed_until = \(claimed.until)
                """
            )
            guard db.changes == 1 else { throw JobTaken(job: claimed.job.name) }
        }
    }
}
