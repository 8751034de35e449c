package import OCI

/// Which tags cannot be moved from the manifest that they were first pushed to.
package struct Immutability: Sendable {
    private let patterns: [(scope: RetentionScope, pattern: TagPattern)]

    /// - Parameter policies: those of every scope that applies to the repository.
    package init(policies: [ScopedPolicy]) {
        patterns = policies.flatMap { scoped in scoped.policy.immutable.map { (scoped.scope, $0) } }
    }

    /// Whether no tag is immutable.
    package var isEmpty: Bool { patterns.isEmpty }

    /// What makes the tag immutable, as in `registry: immutable v*`; nil if it may be moved.
    package func rule(for tag: Tag) -> String? {
        patterns.filter { $0.pattern.matches(tag) }.map { "\($0.scope): immutable \($0.pattern)" }.min()
    }
}
