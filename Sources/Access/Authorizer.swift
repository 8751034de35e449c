package import OCI

/// Decides who may do what. This registry has no accounts: whoever reaches it may do everything, so it listens on
/// loopback unless told otherwise.
package struct Authorizer: Sendable {
    package init() {}

    package func grant<Action: RepositoryAction>(
        _ action: Action.Type,
        on repository: RepositoryName,
        to principal: Principal
    ) async throws -> Grant<Action> {
        Grant(repository: repository, principal: principal)
    }

    /// The right to see the names of all repositories.
    package func grantCatalog(to principal: Principal) async throws -> CatalogGrant {
        CatalogGrant(principal: principal)
    }

    /// The right to look after the registry as a whole.
    package func grantAdministration(to principal: Principal) async throws -> AdministrationGrant {
        AdministrationGrant(principal: principal)
    }
}
