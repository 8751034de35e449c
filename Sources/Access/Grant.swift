package import OCI

/// What a principal may do to a repository, as a type.
package protocol RepositoryAction: Sendable {
    /// The name of the action in a token's scope, such as `pull`.
    static var scope: String { get }
}

package enum Pull: RepositoryAction { package static let scope = "pull" }
package enum Push: RepositoryAction { package static let scope = "push" }
package enum Delete: RepositoryAction { package static let scope = "delete" }
/// To look after a repository: delete it as a whole, hold its content, say what is kept.
package enum Administer: RepositoryAction { package static let scope = "admin" }

/// Who makes a request.
package enum Principal: Hashable, Sendable {
    case anonymous
}

/// Proof that a principal may perform `Action` on one repository.
///
/// Only ``Authorizer`` makes one, and every operation of the registry takes one: a handler that forgets to authorize
/// does not compile.
package struct Grant<Action: RepositoryAction>: Sendable {
    package let repository: RepositoryName
    package let principal: Principal

    // Internal on purpose: other modules can hold a grant, not make one.
    init(repository: RepositoryName, principal: Principal) {
        self.repository = repository
        self.principal = principal
    }
}

/// Proof that a principal may list the repositories.
package struct CatalogGrant: Sendable {
    package let principal: Principal

    init(principal: Principal) { self.principal = principal }
}

/// Proof that a principal may see and change what concerns no single repository.
package struct AdministrationGrant: Sendable {
    package let principal: Principal

    init(principal: Principal) { self.principal = principal }
}
