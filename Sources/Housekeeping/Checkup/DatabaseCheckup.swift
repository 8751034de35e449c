package import Metadata

/// Looks at the database and changes nothing.
package struct DatabaseCheckup: Sendable {
    private let metadata: MetadataStore

    /// Clocks that differ by more make leases and promises shorter or longer than they are meant to be.
    private static let tolerableSkew = Duration.seconds(5)

    package init(_ metadata: MetadataStore) { self.metadata = metadata }

    /// What must be well before the schema is brought up to date.
    package func engine() async -> [Diagnosis] {
        let health: DatabaseHealth
        do {
            health = try await metadata.health()
        } catch {
            return [.problem("database", "\(error)", Self.advice(on: "\(error)"))]
        }
        var found: [Diagnosis] = []
        if let fault = health.versionFault {
            return [.problem("database", fault, "Upgrade the server")]
        }
        found.append(.ok("database", "\(health.version) answers"))
        if let fault = health.rightsFault {
            let advice = "GRANT CREATE, USAGE on the schema to the user of postgres.url, or make the user its owner"
            found.append(.problem("database rights", fault, advice))
        } else {
            found.append(.ok("database rights", "tables may be read and written"))
        }
        found.append(schema(health.schema))
        found.append(clock(health.clockAhead))
        found.append(durability(health.lossySettings))
        if health.isExposed {
            let finding = "what is sent to it crosses a network unencrypted"
            found.append(.warning("database encryption", finding, "Add sslmode=verify-full to postgres.url"))
        }
        return found
    }

    /// Whether the schema is there, with rights to use it.
    package func isCurrent() async -> Bool {
        guard let health = try? await metadata.health() else { return false }  // `engine` says why
        return health.schema == .current && health.rightsFault == nil && health.versionFault == nil
    }

    /// What must be well after that.
    package func plans() async -> Diagnosis {
        do {
            try await metadata.checkPlans()
            return .ok("query plans", "every hot query has its index")
        } catch let error as PlanError {
            return .problem("query plans", error.finding, error.advice)
        } catch {
            return .problem("query plans", "\(error)", "Run it again when the database answers")
        }
    }

    /// What libpq says of TLS is told apart by its words, for it has no codes for it.
    private static func advice(on finding: String) -> String {
        guard ["SSL", "certificate", "no encryption"].contains(where: { finding.contains($0) }) else {
            return "Check that the server runs, postgres.url, and that its pg_hba.conf lets this machine in"
        }
        return """
            Check the TLS parameters of postgres.url: sslmode must be one that the server takes, sslrootcert the file of the \
            authority that signed its certificate, host a name that the certificate has, and sslcert and sslkey one of ours \
            where it asks for that
            """
    }

    private func schema(_ state: SchemaState) -> Diagnosis {
        switch state {
        case .current: .ok("schema", "it is current")
        case .behind(let count): .ok("schema", "'strata serve' or 'strata migrate' will run \(count) migrations")
        case .newer(let error):
            .problem("schema", error.finding, error.advice)
        }
    }

    private func clock(_ ahead: Duration) -> Diagnosis {
        let seconds = Int((Double(ahead.milliseconds) / 1000).rounded())
        guard abs(ahead.milliseconds) > Self.tolerableSkew.milliseconds else {
            return .ok("database clock", "it agrees with this machine's")
        }
        let finding = "it is \(abs(seconds)) s \(seconds > 0 ? "ahead of" : "behind") this machine's"
        return .warning(
            "database clock",
            finding,
            "Keep both with NTP; times in lists and logs do not agree until then"
        )
    }

    private func durability(_ lossy: [String]) -> Diagnosis {
        guard !lossy.isEmpty else { return .ok("database durability", "commits are durable") }
        return .warning(
            "database durability",
            "\(lossy.joined(separator: ", ")): pushes that were acknowledged may be lost in a crash",
            "Set it to on or full, or know what you do"
        )
    }
}
