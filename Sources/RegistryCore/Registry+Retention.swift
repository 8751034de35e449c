package import Access
import BlobStorage
package import Metadata
import OCI
package import Retention

/// The right to say what is kept in a scope.
package struct PolicyGrant: Sendable {
    package let scope: RetentionScope

    /// Of one repository.
    package init(_ grant: Grant<Administer>) { scope = .repository(grant.repository) }

    /// Of any scope.
    package init(of scope: RetentionScope, _ grant: AdministrationGrant) { self.scope = scope }
}

extension Registry {
    /// The policies that hold, of all scopes after `last` in the order of their names.
    package func policies(
        after last: String,
        limit: Int,
        with grant: AdministrationGrant
    ) async throws -> Page<PolicyVersion> {
        Page(try await metadata.policies(after: last, limit: limit + 1), limit: limit)
    }

    /// The policy that holds in a scope itself; nil if there is none.
    package func policy(with grant: PolicyGrant) async throws -> PolicyVersion? {
        try await metadata.policy(of: grant.scope)
    }

    /// Sets or, with nil, removes the policy of a scope.
    ///
    /// - Parameter expected: the version that must hold now, 0 for none; nil if that does not matter.
    /// - Throws: ``RegistryError`` `.preconditionFailed`.
    package func setPolicy(
        _ policy: RetentionPolicy?,
        replacing expected: Int?,
        with grant: PolicyGrant
    ) async throws -> PolicyVersion {
        try await metadata.setPolicy(policy, of: grant.scope, replacing: expected)
    }

    /// All versions of a scope's policy, the newest first.
    package func policyVersions(
        before version: Int?,
        limit: Int,
        with grant: PolicyGrant
    ) async throws -> Page<PolicyVersion> {
        Page(try await metadata.policyVersions(of: grant.scope, before: version, limit: limit + 1), limit: limit)
    }

    /// What the policies would delete now.
    ///
    /// - Parameter trial: a policy to try, in the place of the one that its scope has.
    /// - Throws: ``RegistryError`` `.nameUnknown`, `.notFound` if no policy holds in the repository.
    package func retentionPlan(
        trying trial: ScopedPolicy?,
        with grant: Grant<Administer>
    ) async throws -> RetentionPlan {
        let plan = try await planSlots.withSlot {
            try await metadata.retentionPlan(of: grant.repository, trying: trial, reading: blobs.bytes)
        }
        guard let plan else { throw RegistryError.noPolicy(in: grant.repository) }
        return plan
    }

    /// Deletes what the policies say now.
    ///
    /// - Throws: ``RegistryError`` `.nameUnknown`, `.preconditionFailed`; `.notFound` if no policy holds in the repository.
    package func applyRetention(with grant: Grant<Administer>) async throws -> RetentionRun {
        try await metadata.apply(try await retentionPlan(trying: nil, with: grant), cause: "request")
    }

    /// What the policies deleted in a repository, the newest run first. Its bytes tell what other repositories have.
    package func retentionRuns(before id: Int64?, limit: Int, with grant: Grant<Administer>) async throws -> Page<
        RetentionRun
    > {
        Page(
            try await metadata.retentionRuns(of: grant.repository, before: id, limit: limit + 1),
            limit: limit
        )
    }
}

extension RegistryError {
    fileprivate static func noPolicy(in repository: RepositoryName) -> RegistryError {
        RegistryError(.notFound, "No policy holds in the repository \(repository).", detail: ["name": repository.text])
    }
}
