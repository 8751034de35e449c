@testable import Metadata
import OCI
import Retention
import SQLStore

/// What may be so, as far as clients were told.
struct Belief<Value: Hashable> {
    /// What somebody begins to do to it.
    struct Change {
        let before: Set<Value>
        fileprivate let count: Int
        fileprivate let wasAlone: Bool
    }

    private(set) var possible: Set<Value>
    private var underWay = 0
    private var count = 0

    init(_ value: Value) { possible = [value] }

    /// Somebody is about to do what may make it one of these.
    mutating func begin(_ values: Set<Value>) -> Change {
        let change = Change(before: possible, count: count + 1, wasAlone: underWay == 0)
        underWay += 1
        count += 1
        possible.formUnion(values)
        return change
    }

    /// - Parameter values: what it may be now, as far as nobody else did anything to it meanwhile; nil if that is not known.
    /// - Returns: whether nobody else did.
    @discardableResult
    mutating func end(_ change: Change, _ values: Set<Value>?) -> Bool {
        underWay -= 1
        let wasAlone = change.wasAlone && count == change.count
        if wasAlone, let values { possible = values }
        return wasAlone
    }

    /// - Parameter value: what it was to be made.
    mutating func end<Result>(_ change: Change, to value: Value, _ outcome: Client.Outcome<Result>) {
        switch outcome {
        case .done: end(change, [value])
        case .refused: end(change, change.before)
        case .unknown: end(change, nil)
        }
    }

    /// It was made so, whoever else was about to do something to it.
    ///
    /// - Returns: whether nobody was.
    mutating func become(_ value: Value) -> Bool {
        let wasAlone = underWay == 0
        count += 1
        possible = wasAlone ? [value] : possible.union([value])
        return wasAlone
    }
}

/// What clients were told of policies and holds, and every tag as it was after the last step: a step is a transaction, so
/// whatever it did to a tag was decided by what held at that moment.
struct Rules {
    typealias Place = Witness.Place
    /// By scope.
    var policies: [RetentionScope: Belief<SimulatedPolicy?>] = [:]
    var holds: [SimulatedHold: Belief<Bool>] = [:]
    fileprivate var tags: [Place: KnownTag] = [:]
    /// Since when the manifests that are there and have no name had none.
    fileprivate var unnamed: [Witness.Thing: Int64] = [:]
    /// The same by row, of all there ever were.
    fileprivate var unnamedSince: [Int64: Int64] = [:]
    /// Manifests that a rule took the last name from: they go without another rule, unless they are named again.
    fileprivate var condemned: Set<Witness.Thing> = []
    /// Rows of manifests that must go: a rule took the last name from them then, and nothing has given them a reason to stay.
    fileprivate var doomed: [Int64: Int64] = [:]
    /// The deletions by rules that were judged.
    fileprivate var judged: Set<Deletion> = []

    fileprivate struct Deletion: Hashable {
        let kind: Witness.Thing.Kind?
        let id: Int64
        let at: Int64
    }

    /// All that may hold together in a repository.
    private func policies(of repository: RepositoryName) -> [[SimulatedPolicy]] {
        RetentionScope.applying(to: repository).reduce([[]]) { sets, scope in
            let possible = policies[scope]?.possible ?? [nil]
            return sets.flatMap { set in possible.map { set + [$0].compactMap(\.self) } }
        }
    }

    /// Whether rules may remove manifests without a name: those that they took the last name from, or others, too.
    fileprivate func mayRemove(condemned: Bool, in repository: RepositoryName) -> Bool {
        policies(of: repository).contains { policies in
            !policies.contains(where: \.keepsUntagged) && (condemned || policies.contains(where: \.deletesUntagged))
        }
    }

    func mayKeepUntagged(in repository: RepositoryName) -> Bool {
        policies(of: repository).contains { $0.contains(where: \.keepsUntagged) }
    }

    fileprivate var certainHolds: [SimulatedHold] { holds.filter { $1.possible == [true] }.map(\.key) }

    /// Whether a hold is on a tag for certain.
    fileprivate func isHeld(_ tag: KnownTag, in repository: RepositoryName, by kinds: [RetentionHold.Kind]) -> Bool {
        certainHolds.contains { $0.repository == repository && kinds.contains($0.kind) && $0.isOn(tag) }
    }

    private func isImmutable(_ tag: KnownTag, in repository: RepositoryName) -> Bool {
        policies(of: repository).allSatisfy { policies in
            policies.contains { $0.immutable.contains { tag.matches($0) } }
        }
    }

    fileprivate func reasonNotToMove(_ tag: KnownTag, in repository: RepositoryName) -> String? {
        if isHeld(tag, in: repository, by: [.legal]) { return "a held" }
        return isImmutable(tag, in: repository) ? "an immutable" : nil
    }

    /// Why nobody may delete a tag, as far as that is no rule.
    fileprivate func reasonToStay(
        _ tag: KnownTag,
        in repository: RepositoryName,
        _ repositoryExists: Bool
    ) -> String? {
        if isHeld(tag, in: repository, by: RetentionHold.Kind.allCases) { return "a held" }
        return repositoryExists && isImmutable(tag, in: repository) ? "an immutable" : nil
    }

    private func tags(of repository: RepositoryName) -> [KnownTag] {
        tags.compactMap { $0.key.repository == repository ? $0.value : nil }
    }

    fileprivate func mayDelete(_ tag: KnownTag, in repository: RepositoryName, at now: Int64) -> Bool {
        let all = tags(of: repository)
        return policies(of: repository).contains { tag.isDeleted(by: $0, among: all, at: now) }
    }

    fileprivate func mustDelete(_ tag: KnownTag, in repository: RepositoryName, at now: Int64) -> Bool {
        let all = tags(of: repository)
        let mayBeHeld = holds.contains { $0.repository == repository && $0.isOn(tag) && $1.possible.contains(true) }
        return !mayBeHeld && policies(of: repository).allSatisfy { tag.isDeleted(by: $0, among: all, at: now) }
    }
}

extension Witness {
    func begin(_ policy: SimulatedPolicy?, of scope: RetentionScope) -> Belief<SimulatedPolicy?>.Change {
        rules.policies[scope, default: Belief(nil)].begin([policy])
    }

    func begin(_ hold: SimulatedHold, isSet: Bool) -> Belief<Bool>.Change {
        rules.holds[hold, default: Belief(false)].begin([isSet])
    }

    /// Looks at what the last step did to tags and manifests, and judges it.
    func checkRules() throws {
        var released = try checkManifests()
        released.formUnion(try checkTags())
        try noteDoomed(released)
    }

    /// - Returns: the manifests that rules took a tag from.
    private func checkTags() throws -> Set<Thing> {
        var released: Set<Thing> = []
        let tags = try knownTags()
        var gone = Set(rules.tags.keys).subtracting(tags.keys)
        for row in try sql.rows(.deletionsByRules, now: 0) {
            let deletion = Rules.Deletion(kind: nil, id: row.int(0), at: row.int(1))
            guard rules.judged.insert(deletion).inserted else { continue }
            let (place, digest) = (try Place(row, from: 2), row.digest(4))
            try judge(place, digest)
            let thing = Thing(kind: .manifest, repository: place.repository, digest: digest)
            if rules.mayRemove(condemned: true, in: place.repository) { rules.condemned.insert(thing) }
            released.insert(thing)
            gone.remove(place)
            try wasDeletedByRule(place, digest)
        }
        for place in gone {
            guard let tag = rules.tags[place] else { continue }
            if let reason = rules.reasonToStay(tag, in: place.repository, exists(place.repository)) {
                throw Violation(description: "\(reason) tag was deleted: \(tag.name)")
            }
        }
        for (place, tag) in tags {
            guard let old = rules.tags[place], old.digest != tag.digest else { continue }
            if let reason = rules.reasonNotToMove(old, in: place.repository) {
                throw Violation(description: "\(reason) tag was moved: \(tag.name)")
            }
            if tag.pushedAt < scheduler.now { throw Violation(description: "a tag counts as pushed before it was") }
        }
        rules.tags = tags
        for hold in rules.certainHolds where hold.subject.contains(":") && !isThere(hold) {
            throw Violation(description: "a held manifest is gone: \(hold.subject)")
        }
        return released
    }

    /// Rules are asked of what was there before the step: of several tags that go at once none keeps another one.
    private func judge(_ place: Place, _ digest: Digest) throws {
        let what: String
        if let tag = rules.tags[place] {
            if tag.digest != digest {
                what = "that had moved"
            } else if rules.isHeld(tag, in: place.repository, by: RetentionHold.Kind.allCases) {
                what = "that is held"
            } else if rules.mayDelete(tag, in: place.repository, at: scheduler.now) {
                return
            } else {
                what = "that the policies keep"
            }
        } else {
            what = "that was not there"
        }
        throw Violation(description: "a rule deleted a tag \(what): \(place.tag)")
    }

    /// A rule removes what had no name for a day, and what rules took the last name from.
    ///
    /// - Returns: what was listed by, or is about, what rules removed.
    private func checkManifests() throws -> Set<Thing> {
        var released: Set<Thing> = []
        for row in try sql.rows(.removalsByRules, now: 0) {
            let deletion = Rules.Deletion(kind: .manifest, id: row.int(0), at: row.int(1))
            guard rules.judged.insert(deletion).inserted else { continue }
            let thing = Thing(
                kind: .manifest,
                repository: try RepositoryName(parsing: row.text(2)),
                digest: row.digest(3)
            )
            let day: Int64 = 24 * 3_600_000
            guard let since = rules.unnamed[thing] else {
                throw Violation(description: "a rule removed a manifest that has a name")
            }
            let isCondemned = rules.condemned.contains(thing)
            guard isCondemned || since + day <= scheduler.now,
                rules.mayRemove(condemned: isCondemned, in: thing.repository)
            else {
                throw Violation(description: "a rule removed a manifest that the policies keep: \(thing.digest)")
            }
            for digest in Content.standard?.dependents(of: thing.digest) ?? [] {
                released.insert(Thing(kind: .manifest, repository: thing.repository, digest: digest))
            }
        }
        rules.condemned.formUnion(released)
        var unnamed: [Thing: Int64] = [:]
        for row in try sql.rows(.manifests, now: 0) {
            let thing = Thing(
                kind: .manifest,
                repository: try RepositoryName(parsing: row.text(0)),
                digest: row.digest(1)
            )
            if row.int(2) == 0 {
                // Also while its repository was deleted, before that was put back.
                let since = rules.unnamedSince[row.int(3)] ?? scheduler.now
                (unnamed[thing], rules.unnamedSince[row.int(3)]) = (since, since)
            } else {
                rules.unnamedSince[row.int(3)] = nil
                rules.condemned.remove(thing)
            }
        }
        rules.unnamed = unnamed
        return released
    }

    /// What rules take the last name from goes, unless it is named or pushed again, or a policy keeps what has no name.
    private func noteDoomed(_ released: Set<Thing>) throws {
        guard !released.isEmpty || !rules.doomed.isEmpty else { return }
        for row in try sql.rows(.manifests, now: 0) {
            let (repository, digest, id) = (try RepositoryName(parsing: row.text(0)), row.digest(1), row.int(3))
            if released.contains(Thing(kind: .manifest, repository: repository, digest: digest)) {
                rules.doomed[id] = scheduler.now
            }
            if row.int(2) != 0 || rules.mayKeepUntagged(in: repository) || row.int(4) > rules.doomed[id] ?? 0 {
                rules.doomed[id] = nil
            }
        }
    }

    /// When no collector has anything to do any more.
    func checkDoomedAreGone() throws {
        for row in try sql.rows(.manifests, now: 0) where rules.doomed[row.int(3)] != nil {
            throw Violation(description: "a manifest is left that a rule let go of: \(row.digest(1))")
        }
    }

    /// After a round of the rules in which nothing failed: whatever they delete is gone.
    func checkRulesWereApplied(at now: Int64) throws {
        for (place, tag) in rules.tags where rules.mustDelete(tag, in: place.repository, at: now) {
            throw Violation(description: "the rules have left a tag: \(tag.name)")
        }
    }

    private func knownTags() throws -> [Place: KnownTag] {
        var pulls: [[String]: Int64] = [:]
        for row in try sql.rows(.pulls, now: 0) { pulls[[row.text(0), row.text(1)]] = row.int(2) }
        var tags: [Place: KnownTag] = [:]
        for row in try sql.rows(.tags, now: 0) {
            let (name, digest) = (row.text(1), row.digest(2))
            let pulled = [name, "\(digest)"].compactMap { pulls[[row.text(0), $0]] }
            tags[try Place(row, from: 0)] = KnownTag(
                name: name,
                digest: digest,
                pushedAt: row.int(3),
                usedAt: (pulled + [row.int(3)]).max() ?? 0,
                platforms: Content.standard?.platforms(of: digest) ?? []
            )
        }
        return tags
    }

    private func exists(_ repository: RepositoryName) -> Bool {
        (try? sql.rows("SELECT 1 FROM repository WHERE name = \(repository)", now: 0).isEmpty) == false
    }

    private func isThere(_ hold: SimulatedHold) -> Bool {
        guard let digest = try? Digest(parsing: hold.subject) else { return false }
        let rows = try? sql.rows(
            """
            SELECT 1 FROM manifest m JOIN repository r ON r.id = m.repo_id
            WHERE r.name = \(hold.repository) AND m.digest = \(digest)
            """,
            now: 0
        )
        return rows?.isEmpty == false
    }
}

extension Witness.Place {
    /// - Parameter column: where the names of repository and tag are.
    fileprivate init(_ row: SQLRow, from column: Int) throws {
        self.init(
            repository: try RepositoryName(parsing: row.text(column)),
            tag: try Tag(parsing: row.text(column + 1))
        )
    }
}

extension Query {
    fileprivate static let deletionsByRules: Query = """
        SELECT d.id, d.deleted_at, r.name, d.name, d.digest FROM deleted_tag d JOIN repository r ON r.id = d.repo_id
        WHERE d.reason <> 'deleted by request'
        """
    fileprivate static let removalsByRules: Query = """
        SELECT d.id, d.deleted_at, r.name, d.digest FROM deleted_manifest d JOIN repository r ON r.id = d.repo_id
        WHERE d.reason <> 'deleted by request'
        """
    /// All, and whether each has a name.
    fileprivate static let manifests: Query = """
        SELECT r.name, m.digest, EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id)
            OR EXISTS (SELECT 1 FROM manifest_child c WHERE c.child_id = m.id)
            OR \(word: isKeptBySubject), m.id, m.created_at
        FROM manifest m JOIN repository r ON r.id = m.repo_id
        """
    fileprivate static let tags: Query = """
        SELECT r.name, t.name, m.digest, t.updated_at FROM tag t JOIN repository r ON r.id = t.repo_id
        JOIN manifest m ON m.id = t.manifest_id
        """
    fileprivate static let pulls: Query = """
        SELECT r.name, p.reference, p.last_at FROM pull_stat p JOIN repository r ON r.id = p.repo_id
        """
}
