/// The settings among the environment variables.
struct ConfigurationEnvironment {
    /// The configuration file that `STRATA_CONFIG` names.
    let file: String?
    private(set) var settings: [ConfigurationSetting] = []
    private(set) var problems: [ConfigurationProblem] = []

    private static let fileVariable = "STRATA_CONFIG"

    /// Mean something to the build and the tests of Strata, which hand their environment to the servers they start.
    private static let variablesOfTests: Set<String> = [
        "STRATA_BIN", "STRATA_BENCH", "STRATA_FUZZ", "STRATA_KILLS", "STRATA_SEED",
    ]

    init(_ environment: [String: String]) {
        file = environment[Self.fileVariable].flatMap { $0.isEmpty ? nil : $0 }
        let keys = Dictionary(uniqueKeysWithValues: ConfigurationKey.all.map { ($0.variable, $0) })
        let isInKubernetes = environment["KUBERNETES_SERVICE_HOST"] != nil
        for (variable, value) in environment.sorted(by: { $0.key < $1.key }) {
            guard variable.hasPrefix(ConfigurationKey.variablePrefix), variable != Self.fileVariable,
                !Self.variablesOfTests.contains(variable)
            else { continue }
            let source = ConfigurationSource.environment(variable: variable)
            if let key = keys[variable] {
                settings.append(ConfigurationSetting(key: key.name, value: value, source: source))
            } else if !(isInKubernetes && Self.isServiceLink(variable)) {
                let name = String(variable.dropFirst(ConfigurationKey.variablePrefix.count))
                // A variable is what must be written instead.
                let nearest = ConfigurationKey.nearest(to: name).variable
                problems.append(.unknownKey(variable, source: source, nearest: nearest))
            }
        }
    }

    /// Kubernetes sets `STRATA_SERVICE_HOST`, `STRATA_PORT_5000_TCP` and their like in the pods of a namespace that has
    /// a service called `strata`; nobody asked for them.
    /// See https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    private static func isServiceLink(_ variable: String) -> Bool {
        ["STRATA_SERVICE_", "STRATA_PORT"].contains { variable.hasPrefix($0) }
    }
}
