import OCI
import Retention
package import BlobStorage
package import Logging
package import Metadata
package import Telemetry

/// Applies the retention policies for as long as a server runs: of all nodes one at a time, repository by repository.
package struct RetentionService: Sendable {
    private let metadata: MetadataStore
    private let blobs: any BlobStore
    private let pace: Pace
    private let metrics: RetentionMetrics
    private let job: Job
    private let logger: Logger

    /// How often a node asks whether it is its turn.
    private static let turn = Duration.seconds(30)
    /// A plan, or some batches of deletions with what they rest, take minutes at most.
    private static let claim = Duration.seconds(15 * 60)
    /// Repositories and batches of deletions after which the claim is made anew, unless they took so long that it is before.
    private static let stepsOfClaim = 20
    private static let claimAge = Duration.seconds(3 * 60)
    /// Names that are read at a time.
    private static let page = 1000

    /// - Parameter interval: from the end of a round to the next.
    package init(
        _ metadata: MetadataStore,
        _ blobs: any BlobStore,
        pace: Pace,
        metrics: RetentionMetrics,
        interval: Duration,
        logger: Logger
    ) {
        (self.metadata, self.blobs) = (metadata, blobs)
        (self.pace, self.metrics, self.logger) = (pace, metrics, logger)
        job = Job("retention", interval: interval, claim: Self.claim)
    }

    /// Returns when its task is cancelled. A failure costs a round and nothing else.
    package func run() async {
        while !Task.isCancelled {
            do {
                try await runIfDue()
            } catch is CancellationError {
                return
            } catch {
                metrics.failures.add()
                logger.warning("a round of the retention policies failed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: min(Self.turn, .milliseconds(job.interval)))  // cancelled: the loop ends
        }
    }

    /// A round, if one is due and it is this node's turn. One that was stopped goes on where it was.
    package func runIfDue() async throws {
        guard let claimed = try await metadata.claim(job) else { return }
        var turn = Turn(claimed)
        do {
            try await round(&turn)
            try await metadata.finish(turn.job)
        } catch let error as JobTaken {
            logger.notice("a round of the retention policies was left", metadata: ["reason": "\(error)"])
        }
    }

    /// That it is this node's turn, and since when others know.
    private struct Turn {
        var job: ClaimedJob
        var steps = 0
        var keptAt = ContinuousClock.now

        init(_ job: ClaimedJob) { self.job = job }
    }

    /// A step is done.
    ///
    /// - Throws: ``JobTaken`` if another node has taken over meanwhile, as far as that is asked.
    private func goOn(_ turn: inout Turn, at progress: Progress? = nil) async throws {
        turn.steps += 1
        guard turn.steps >= Self.stepsOfClaim || ContinuousClock.now - turn.keptAt > Self.claimAge else { return }
        try await keep(&turn, at: progress)
    }

    private func keep(_ turn: inout Turn, at progress: Progress?) async throws {
        try await metadata.keep(&turn.job, at: progress?.description)
        (turn.steps, turn.keptAt) = (0, .now)
    }

    /// How far a round has come: the pass, and the repository that it saw last.
    private struct Progress: CustomStringConvertible {
        var pass = 1
        var last = ""

        var description: String { "\(pass) \(last)" }

        init(pass: Int) { self.pass = pass }

        /// Of what is not understood, the beginning.
        init(_ text: String) {
            let parts = text.split(separator: " ", maxSplits: 1)
            guard parts.count == 2, let pass = Int(parts[0]) else { return }
            (self.pass, last) = (pass, String(parts[1]))
        }
    }

    private func round(_ turn: inout Turn) async throws {
        let start = Progress(turn.job.progress)
        let scopes = try await scopes()
        if start.pass == 1, !scopes.isEmpty {
            try await pass(&turn, from: start, through: metadata.repositoryNames) {
                !scopes.isDisjoint(with: RetentionScope.applying(to: $0))
            }
        }
        // What was announced where no policy holds any more.
        try await pass(
            &turn,
            from: start.pass == 2 ? start : Progress(pass: 2),
            through: metadata.repositoriesWithAnnouncements
        ) {
            scopes.isDisjoint(with: RetentionScope.applying(to: $0))
        }
    }

    private func pass(
        _ turn: inout Turn,
        from start: Progress,
        through list: (_ last: String, _ limit: Int) async throws -> [RepositoryName],
        where isMeant: (RepositoryName) -> Bool
    ) async throws {
        var progress = start
        while true {
            let repositories = try await list(progress.last, Self.page)
            guard !repositories.isEmpty else { return }
            for repository in repositories where isMeant(repository) {
                try await apply(to: repository, &turn)
                try Task.checkCancellation()
                progress.last = repository.text
                try await goOn(&turn, at: progress)
            }
            progress.last = repositories.last?.text ?? ""
            try await keep(&turn, at: progress)
        }
    }

    /// The scopes that have a policy.
    private func scopes() async throws -> Set<RetentionScope> {
        var scopes: Set<RetentionScope> = []
        var last = ""
        while true {
            let policies = try await metadata.policies(after: last, limit: Self.page)
            guard let end = policies.last else { return scopes }
            last = "\(end.scope)"
            scopes.formUnion(policies.map(\.scope))
        }
    }

    /// What goes wrong in one repository is logged and is no reason to leave the others.
    private func apply(to repository: RepositoryName, _ turn: inout Turn) async throws {
        do {
            guard
                let plan = try await pace.paced({
                    try await metadata.retentionPlan(of: repository, reading: blobs.bytes)
                })
            else {
                return try await metadata.withdrawAnnouncements(of: repository)
            }
            try await apply(plan, &turn)
        } catch let error as CancellationError {
            throw error
        } catch let error as JobTaken {
            throw error
        } catch let error as RegistryError where error.isOvertaken {
            // Gone, or with other policies by now: the next round sees it as it is then.
        } catch {
            metrics.failures.add()
            logger.warning(
                "the retention policies could not be applied",
                metadata: ["repository": "\(repository)", "error": "\(error)"]
            )
        }
    }
}

extension RetentionService {
    /// A batch at a time, with a rest after each.
    private func apply(_ plan: RetentionPlan, _ turn: inout Turn) async throws {
        var work = RetentionWork(plan, cause: "schedule")
        defer { tell(work.run) }
        while try await pace.paced({ try await metadata.advance(&work) }) { try await goOn(&turn) }
    }

    /// Also of a run that was stopped half way.
    private func tell(_ run: RetentionRun) {
        metrics.count(run)
        guard run.tags + run.manifests > 0 else { return }
        logger.info(
            "retention",
            metadata: [
                "repository": "\(run.repository)", "tags": "\(run.tags)", "manifests": "\(run.manifests)",
                "bytes": "\(run.bytes)",
            ]
        )
    }
}

extension RegistryError {
    fileprivate var isOvertaken: Bool { entries.allSatisfy { [.nameUnknown, .preconditionFailed].contains($0.code) } }
}

/// What the retention policies did, for a monitoring system.
package struct RetentionMetrics: Sendable {
    let failures: Counter
    private let tags: Counter
    private let manifests: Counter

    package init(_ metrics: Metrics) {
        failures = metrics.counter(
            "strata_retention_failures_total",
            help: "Repositories or rounds that the retention policies could not be applied to."
        )
        tags = metrics.counter(
            "strata_retention_tags_total",
            help: "Tags that the rounds of the retention policies deleted."
        )
        manifests = metrics.counter(
            "strata_retention_manifests_total",
            help: "Untagged manifests that the rounds of the retention policies let go of."
        )
    }

    func count(_ run: RetentionRun) {
        tags.add(run.tags)
        manifests.add(run.manifests)
    }
}
