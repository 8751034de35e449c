import OCI
package import Retention
import SQLStore

/// One version of what is to be kept in a scope.
package struct PolicyVersion: Hashable, Sendable {
    package let scope: RetentionScope
    /// From 1, one more with every change.
    package let version: Int
    /// Milliseconds since 1970.
    package let createdAt: Int64
    /// Nil where the policy was removed.
    package let policy: RetentionPolicy?
}

extension MetadataStore {
    /// The policy that holds in a scope itself; nil if there is none.
    package func policy(of scope: RetentionScope) async throws -> PolicyVersion? {
        try await policyVersions(of: scope, before: nil, limit: 1).first.flatMap { $0.policy == nil ? nil : $0 }
    }

    /// All versions of a scope's policy, the newest first.
    ///
    /// - Parameter version: only those before it.
    package func policyVersions(
        of scope: RetentionScope,
        before version: Int?,
        limit: Int
    ) async throws -> [PolicyVersion] {
        try await database.read { db in
            try db.run(
                """
                SELECT scope, version, created_at, document FROM retention_policy
                WHERE scope = \("\(scope)") AND version < \(version.map { Int64($0) } ?? .max) ORDER BY version DESC LIMIT \(Int64(limit))
                """
            ).map { try PolicyVersion($0) }
        }
    }

    /// The policies that hold, in the order of their scopes' names.
    ///
    /// - Parameter last: only those of scopes after it.
    package func policies(after last: String, limit: Int) async throws -> [PolicyVersion] {
        try await database.read { db in
            try db.run(
                """
                SELECT scope, version, created_at, document FROM retention_policy p
                WHERE scope > \(last) AND document IS NOT NULL
                AND version = (SELECT max(version) FROM retention_policy n WHERE n.scope = p.scope)
                ORDER BY scope LIMIT \(Int64(limit))
                """
            ).map { try PolicyVersion($0) }
        }
    }

    /// Sets or, with nil, removes a scope's policy. Old versions stay; the one that holds is none anew.
    ///
    /// - Parameter expected: the version that holds now, 0 for none; nil if that does not matter.
    /// - Throws: ``RegistryError`` `.preconditionFailed` if another one holds.
    package func setPolicy(
        _ policy: RetentionPolicy?,
        of scope: RetentionScope,
        replacing expected: Int? = nil
    ) async throws -> PolicyVersion {
        try await database.write { db in
            let last = try db.run(
                """
                SELECT version, document, created_at FROM retention_policy WHERE scope = \("\(scope)")
                ORDER BY version DESC LIMIT 1
                """
            ).first
            let version = Int(last?.int(0) ?? 0)
            let current = last.map { $0.isNull(1) ? 0 : version } ?? 0
            guard expected == nil || expected == current else {
                throw RegistryError(
                    .preconditionFailed,
                    current == 0
                        ? "There is no policy of \(scope); nothing was changed."
                        : "The policy of \(scope) has the version \(current) by now; nothing was changed.",
                    detail: ["version": "\(current)"]
                )
            }
            if let last, let policy, last.optionalText(1) == policy.canonical {
                return PolicyVersion(scope: scope, version: version, createdAt: last.int(2), policy: policy)
            }
            let next = PolicyVersion(scope: scope, version: version + 1, createdAt: db.now, policy: policy)
            try db.run(
                """
                INSERT INTO retention_policy (scope, version, created_at, document)
                VALUES (\("\(scope)"), \(Int64(next.version)), \(next.createdAt), \(optional: policy?.canonical))
                ON CONFLICT (scope, version) DO NOTHING
                """
            )
            guard db.changes == 1 else { throw SQLError.conflict }
            return next
        }
    }
}

extension PolicyVersion {
    /// - Parameter row: scope, version, created_at, document
    fileprivate init(_ row: SQLRow) throws {
        scope = try RetentionScope(parsing: row.text(0))
        version = Int(row.int(1))
        createdAt = row.int(2)
        policy = try row.optionalText(3).map { try RetentionPolicy(decoding: $0.utf8) }
    }
}

extension SQLTransaction {
    /// The policies that together hold for a repository.
    func policies(applyingTo repository: RepositoryName) throws -> [ScopedPolicy] {
        try policies(applyingTo: [repository])[repository] ?? []
    }

    /// The same for several, asked for at once; a repository without any may be missing.
    func policies(applyingTo repositories: Set<RepositoryName>) throws -> [RepositoryName: [ScopedPolicy]] {
        let scopes = Set(repositories.flatMap { RetentionScope.applying(to: $0).map { "\($0)" } }).sorted()
        let policies = try inBatches(scopes) {
            """
            SELECT scope, version, created_at, document FROM retention_policy p WHERE scope IN \(list: $0)
            AND version = (SELECT max(version) FROM retention_policy n WHERE n.scope = p.scope)
            """
        }.compactMap { row in
            let stored = try PolicyVersion(row)
            return stored.policy.map { ScopedPolicy(scope: stored.scope, version: stored.version, policy: $0) }
        }
        guard !policies.isEmpty else { return [:] }
        let byScope = Dictionary(policies.map { ("\($0.scope)", $0) }, uniquingKeysWith: { first, _ in first })
        return Dictionary(
            uniqueKeysWithValues: repositories.map { repository in
                (repository, RetentionScope.applying(to: repository).compactMap { byScope["\($0)"] })
            }
        )
    }

    func immutability(of repository: RepositoryName) throws -> Immutability {
        Immutability(policies: try policies(applyingTo: repository))
    }
}

extension ScopedPolicy {
    /// As it is written down of a run.
    package var identity: String { "\(scope)@\(version)" }
}

extension RegistryError {
    /// - Parameter change: what cannot be done, as in "moved".
    static func immutable(_ tag: Tag, by rule: String, _ change: String) -> RegistryError {
        RegistryError(
            .denied,
            "The tag \(tag) cannot be \(change): \(rule). Use another tag, or change the policy.",
            detail: ["tag": tag.text, "rule": rule]
        )
    }
}
