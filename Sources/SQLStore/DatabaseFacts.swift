/// What an operator has to know of a database and what it does not say by failing.
package struct DatabaseFacts: Sendable {
    /// Such as `PostgreSQL 15.20`.
    package let version: String
    /// Why this version cannot be used; nil if it can.
    package var versionFault: String?
    /// Whether we may make tables.
    package var canCreateTables = true
    package let tables: Set<String>
    /// Those of the tables that we may not read and write.
    package var closedTables: Set<String> = []
    /// Settings with which acknowledged commits may be lost, such as `fsync = off`.
    package var lossySettings: [String] = []
    /// Whether others on a network can read what is sent to it.
    package var isExposed = false
    /// How far its clock is ahead of this machine's, in milliseconds.
    package var clockAhead: Int64 = 0

    init(version: String, tables: Set<String>) { (self.version, self.tables) = (version, tables) }
}
