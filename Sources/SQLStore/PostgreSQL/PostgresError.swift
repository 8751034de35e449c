/// What PostgreSQL or the way to it said, with what it means for the work that was under way.
struct PostgresError: Error, Sendable {
    enum Meaning: Sendable {
        /// The connection is of no use any more; what it was doing was undone.
        case connectionLost
        /// Undone, and worth another try at once: a deadlock, a lock that took too long, a row that went away.
        case transient
        /// Undone, and worth another try in a moment.
        case overloaded
        case storageFull
        case failed
    }

    let meaning: Meaning
    let message: String

    /// - Parameter state: five characters.
    ///   Source: [PostgreSQL 15, Appendix A](https://www.postgresql.org/docs/15/errcodes-appendix.html).
    init(state: String, message: String) {
        meaning =
            switch state {
            // Serialization failure, deadlock, lock not available, foreign key violation (a row went away meanwhile).
            case "40001", "40P01", "55P03", "23503": .transient
            // A standby, or a server that became one: the connection leads to the wrong place.
            case "25006", "57P01", "57P02", "57P03", "57P05", "25P03", "": .connectionLost
            case "53100": .storageFull
            // Too many connections, out of memory, statement timeout.
            case "53300", "53200", "57014": .overloaded
            default: state.hasPrefix("08") ? .connectionLost : .failed
            }
        self.message = state.isEmpty ? message : "\(message) (\(state))"
    }

    static func connectionLost(_ message: String) -> PostgresError { PostgresError(state: "", message: message) }

    /// The time with which a transaction was to begin was over by then.
    static let stoodStill = PostgresError(state: "40001", message: "this process or its clock stood still")

    var reported: SQLError {
        switch meaning {
        case .connectionLost, .transient, .overloaded: .unavailable(message)
        case .storageFull: .storageFull(message)
        case .failed: .failed(message)
        }
    }
}
