import OCI
import Retention

// The same for the command line and the API: times are milliseconds since 1970.
extension RetentionPlan: Encodable {
    private enum Key: String, CodingKey { case repository, madeAt, policies, tags, untagged, freed }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(repository.text, forKey: .repository)
        try container.encode(madeAt, forKey: .madeAt)
        try container.encode(policies.map(\.identity), forKey: .policies)
        try container.encode(tags, forKey: .tags)
        try container.encode(untagged, forKey: .untagged)
        try container.encode(freed, forKey: .freed)
    }
}

private enum VerdictKey: String, CodingKey {
    case tag, digest, pushedAt, pulledAt, since, decision, keptBy, deletedBy, deletedFrom
}

extension RetentionPlan.TagPlan: Encodable {
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: VerdictKey.self)
        try container.encode(facts.name.text, forKey: .tag)
        try container.encode("\(facts.digest)", forKey: .digest)
        try container.encode(facts.pushedAt, forKey: .pushedAt)
        try container.encodeIfPresent(facts.pulledAt, forKey: .pulledAt)
        try container.encode(verdict)
    }
}

extension RetentionPlan.UntaggedPlan: Encodable {
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: VerdictKey.self)
        try container.encode("\(facts.digest)", forKey: .digest)
        try container.encode(facts.since, forKey: .since)
        try container.encode(verdict)
    }
}

extension KeyedEncodingContainer<VerdictKey> {
    fileprivate mutating func encode(_ verdict: Verdict) throws {
        try encode(verdict.decision.rawValue, forKey: .decision)
        try encode(verdict.keptBy, forKey: .keptBy)
        try encode(verdict.deletedBy, forKey: .deletedBy)
        try encodeIfPresent(verdict.deletedFrom, forKey: .deletedFrom)
    }
}

extension RetentionRun: Encodable {
    private enum Key: String, CodingKey { case id, repository, startedAt, cause, policies, tags, manifests, bytes }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        if id > 0 { try container.encode(id, forKey: .id) }
        try container.encode(repository.text, forKey: .repository)
        try container.encode(startedAt, forKey: .startedAt)
        try container.encode(cause, forKey: .cause)
        try container.encode(policies, forKey: .policies)
        try container.encode(tags, forKey: .tags)
        try container.encode(manifests, forKey: .manifests)
        try container.encode(bytes, forKey: .bytes)
    }
}
