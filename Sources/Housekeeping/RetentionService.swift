import OCI
import Retention
package import Logging
package import Metadata
package import Telemetry

/// Applies the retention policies for as long as a server runs: of all nodes one at a time, repository by repository.
package struct RetentionService: Sendable {
    private let metadata: MetadataStore
    private let pace: Pace
    private let metrics: RetentionMetrics
    private let job: Job
    private let logger: Logger

    /// How often a node asks whether it is its turn.
    private static let turn = Duration.seconds(30)
    /// A repository takes seconds at most.
    private static let claim = Duration.seconds(15 * 60)
    /// Names that are read at a time.
    private static let page = 1000

    /// - Parameter interval: from the end of a round to the next.
    package init(
        _ metadata: MetadataStore,
        pace: Pace,
        metrics: RetentionMetrics,
        interval: Duration,
        logger: Logger
    ) {
        (self.metadata, self.pace, self.metrics, self.logger) = (metadata, pace, metrics, logger)
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

    /// A round, if one is due and it is this node's turn.
    package func runIfDue() async throws {
        guard try await metadata.claim(job) else { return }
        try await round()
        try await metadata.finish(job)
    }

    private func round() async throws {
        let scopes = try await scopes()
        guard !scopes.isEmpty else { return }
        var last = ""
        while true {
            let repositories = try await metadata.repositoryNames(after: last, limit: Self.page)
            guard let end = repositories.last else { return }
            last = end.text
            for repository in repositories {
                guard !scopes.isDisjoint(with: RetentionScope.applying(to: repository)) else { continue }
                try await metadata.keep(job)
                try await pace.paced { await apply(to: repository) }
                try Task.checkCancellation()
            }
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
    private func apply(to repository: RepositoryName) async {
        do {
            guard let plan = try await metadata.retentionPlan(of: repository) else { return }
            let run = try await metadata.apply(plan, cause: "schedule")
            metrics.count(run)
            guard run.tags + run.manifests > 0 else { return }
            logger.info(
                "retention",
                metadata: [
                    "repository": "\(repository)", "tags": "\(run.tags)", "manifests": "\(run.manifests)",
                    "bytes": "\(run.bytes)",
                ]
            )
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
        tags = metrics.counter("strata_retention_tags_total", help: "Tags that a retention policy deleted.")
        manifests = metrics.counter(
            "strata_retention_manifests_total",
            help: "Untagged manifests that a retention policy let go of."
        )
    }

    func count(_ run: RetentionRun) {
        tags.add(run.tags)
        manifests.add(run.manifests)
    }
}
