import OCI
import Retention

/// Random numbers that are the same in every run (SplitMix64).
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

let day: Int64 = 86_400_000

func facts(_ name: String, pushedAt: Int64 = 0, pulledAt: Int64? = nil, platforms: [String] = []) throws -> TagFacts {
    TagFacts(
        name: try Tag(parsing: name),
        digest: Digest(hashing: Array(name.utf8)),
        pushedAt: pushedAt,
        pulledAt: pulledAt,
        platforms: platforms
    )
}

func policy(_ rules: String...) throws -> RetentionPolicy {
    try RetentionPolicy(decoding: #"{"version": 1, "rules": [\#(rules.joined(separator: ","))]}"#.utf8)
}

/// Of these tags, those that one rule of the registry keeps.
func kept(of tags: [TagFacts], by rule: String) throws -> Set<String> {
    let scoped = ScopedPolicy(scope: .registry, version: 1, policy: try policy(rule))
    let verdicts = RetentionEvaluator(policies: [scoped], holds: []).verdicts(tags: tags, untagged: [], now: 0)
    return Set(zip(tags, verdicts.tags).filter { !$1.keptBy.isEmpty }.map(\.0.name.text))
}
