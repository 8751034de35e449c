import BlobStorage
@testable import Metadata
import OCI
import Retention

/// What owners of repositories do.
extension Client {
    func govern(_ repository: RepositoryName, _ tag: Tag, _ image: Int) async throws {
        switch scheduler.chance.index(100) {
        case ..<40:
            try await setPolicy(of: scheduler.chance.pick(RetentionScope.applying(to: repository)))
            if scheduler.chance.hits(700) { try await applyRules(to: repository, image) }
        case ..<55: try await hold(tag, or: image, in: repository)
        case ..<70: try await releaseHold(in: repository)
        default: try await applyRules(to: repository, image)
        }
    }

    private func hold(_ tag: Tag, or image: Int, in repository: RepositoryName) async throws {
        let subjects = ["v*", tag.text, "\(content.images[image].manifest.digest)"]
        let kind = scheduler.chance.pick(RetentionHold.Kind.allCases)
        let subject = scheduler.chance.pick(subjects)
        try await set(SimulatedHold(repository: repository, kind: kind, subject: subject))
    }

    /// Sets a policy, or removes it. That of the registry always speaks of untagged manifests if any does.
    func setPolicy(of scope: RetentionScope) async throws {
        var policy: SimulatedPolicy? =
            scheduler.chance.hits(800) ? SimulatedPolicy(&scheduler.chance, for: world.plan) : nil
        if scope == .registry, world.plan.deletesUntagged {
            policy = policy ?? SimulatedPolicy()
            policy?.deletesUntagged = true
        }
        try await set(policy, of: scope)
    }

    func set(_ policy: SimulatedPolicy?, of scope: RetentionScope) async throws {
        let change = witness.begin(policy, of: scope)
        let decoded = try policy?.decoded
        let outcome = try await attempt("policy of \(scope): \(decoded?.canonical ?? "none")") { node in
            try await node.metadata.setPolicy(decoded, of: scope)
        }
        witness.rules.policies[scope]?.end(change, to: policy, outcome)
    }

    private func set(_ hold: SimulatedHold) async throws {
        let change = witness.begin(hold, isSet: true)
        let product = RetentionHold(kind: hold.kind, subject: try .init(parsing: hold.subject), reason: "case 7")
        let outcome = try await attempt("hold \(hold.repository) \(hold.kind) \(hold.subject)") { node in
            try await node.metadata.setHold(product, in: hold.repository)
        }
        witness.rules.holds[hold]?.end(change, to: true, outcome)
    }

    /// Releases one of the holds of a repository.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    func releaseHold(in repository: RepositoryName) async throws -> Bool {
        let list = try await attempt("holds of \(repository)") { node in
            try await node.metadata.holds(in: repository, after: 0, limit: 100)
        }
        guard case .done(let holds) = list, !holds.isEmpty else { return false }
        let stored = scheduler.chance.pick(holds)
        let (kind, subject) = (stored.hold.kind, "\(stored.hold.subject)")
        let hold = SimulatedHold(repository: repository, kind: kind, subject: subject)
        let change = witness.begin(hold, isSet: false)
        let outcome = try await attempt("release \(repository) \(stored.hold)") { node in
            try await node.metadata.releaseHold(stored.id, in: repository)
        }
        witness.rules.holds[hold]?.end(change, to: false, outcome)
        return true
    }

    /// Makes a plan and applies it, sometimes much later: the node may have stood still. Meanwhile the plan may be overtaken.
    private func applyRules(to repository: RepositoryName, _ image: Int) async throws {
        let outcome = try await attempt("plan \(repository)") { node in
            try await node.metadata.retentionPlan(of: repository) { key, size in
                try await node.store.bytes(of: key, size: size)
            }
        }
        guard case .done(let made) = outcome, let plan = made else { return }
        if scheduler.chance.hits(600) { try await scheduler.turn(after: scheduler.chance.upTo(3 * 3_600_000)) }
        let kept = plan.tags.filter { $0.verdict.decision == .keep }.map(\.facts.name)
        let deleted = plan.tags.filter { $0.verdict.decision == .delete }.map(\.facts.name)
        if let tag = deleted.first {
            switch scheduler.chance.index(8) {
            case 0: _ = try await push(image, to: repository, as: tag)
            case 1: try await pull(tag, from: repository)
            case 2: try await setPolicy(of: scheduler.chance.pick(RetentionScope.applying(to: repository)))
            case 3: try await hold(tag, or: image, in: repository)
            case 4 where !kept.isEmpty: try await delete(scheduler.chance.pick(kept), in: repository)
            default: break
            }
        }
        _ = try await attempt("apply \(repository)") { node in
            try await node.metadata.apply(plan, cause: "request")
        }
    }

    /// Pulls are written down by and by.
    func count(_ reference: Reference, _ repository: RepositoryName) async throws {
        _ = try await attempt("count a pull of \(repository) \(reference)") { node in
            try await node.metadata.addPulls([PulledReference(reference, in: repository): 1])
        }
    }
}
