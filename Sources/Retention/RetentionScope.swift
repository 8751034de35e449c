package import OCI

/// Where a policy holds. As text: `registry`, `namespace/team`, `repository/team/app`.
package enum RetentionScope: Hashable, Sendable, CustomStringConvertible {
    case registry
    /// Every repository below this path; not the one of this name.
    case namespace(String)
    case repository(RepositoryName)

    /// - Throws: ``RetentionScopeError``.
    package init(parsing text: some StringProtocol) throws {
        let text = String(text)
        switch text.firstIndex(of: "/").map({ (text[..<$0], text[text.index(after: $0)...]) }) {
        case nil where text == "registry": self = .registry
        case ("namespace", let path)?:
            guard let name = try? RepositoryName(parsing: path) else { throw RetentionScopeError(text: text) }
            self = .namespace(name.text)
        case ("repository", let path)?:
            guard let name = try? RepositoryName(parsing: path) else { throw RetentionScopeError(text: text) }
            self = .repository(name)
        default: throw RetentionScopeError(text: text)
        }
    }

    package var description: String {
        switch self {
        case .registry: "registry"
        case .namespace(let path): "namespace/" + path
        case .repository(let name): "repository/" + name.text
        }
    }

    /// The registry, each namespace above the repository from the outermost, and the repository.
    package static func applying(to repository: RepositoryName) -> [RetentionScope] {
        let components = repository.text.split(separator: "/")
        let namespaces = (1..<components.count).map {
            RetentionScope.namespace(components[..<$0].joined(separator: "/"))
        }
        return [.registry] + namespaces + [.repository(repository)]
    }
}

/// Why a text is no scope.
package struct RetentionScopeError: Error, Hashable, CustomStringConvertible {
    let text: String

    package var description: String {
        let shown = text.unicodeScalars.prefix(RepositoryName.maximumLength).map { $0.value < 32 ? "?" : String($0) }
        return "'\(shown.joined())' is not a scope; write registry, namespace/PATH or repository/NAME."
    }
}

/// A policy where it holds.
package struct ScopedPolicy: Hashable, Sendable {
    package let scope: RetentionScope
    /// Which of the scope's policies it is: 1 for the first that was set there.
    package let version: Int
    package let policy: RetentionPolicy

    package init(scope: RetentionScope, version: Int, policy: RetentionPolicy) {
        self.scope = scope
        self.version = version
        self.policy = policy
    }
}
