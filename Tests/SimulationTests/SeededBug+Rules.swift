@testable import SQLStore

/// Defects of rules that delete tags, of holds and of tags that must not move.
extension SeededBug {
    static let rules = [
        rule(
            name: "moved tags are not looked at again",
            description: "a rule deletes a tag that was pushed after the plan was made"
        ) { query, _ in
            query.asksForPlannedTag ? .answers([SQLRow([.integer(1)])], changes: 0) : nil
        },
        rule(
            name: "pulls are not looked at again",
            description: "a rule deletes a tag that was pulled after the plan was made"
        ) { query, _ in
            query.says("SELECT max(last_at) FROM pull_stat") ? .answers([SQLRow([.null(.integer)])], changes: 0) : nil
        },
        rule(
            name: "kept tags are not looked at again",
            description: "a rule deletes a tag although one is gone that was to be kept, and it is the last by now"
        ) { query, db in
            guard query.says("SELECT name, manifest_id FROM tag WHERE repo_id", "name IN") else { return nil }
            let there = db.ask(query)
            let gone = query.values.dropFirst().filter { name in !there.contains { $0.text(0).sqlValue == name } }
            return .answers(there + gone.map { SQLRow([$0, .integer(0)]) }, changes: 0)
        },
        rule(
            name: "policies are not looked at again",
            description: "a rule deletes a tag although there is another policy since the plan was made"
        ) { query, db in
            if query.asksForPlannedTag { db.recorded.note = [SQLRow([])] }
            guard query.says("FROM retention_policy"), !db.recorded.note.isEmpty else { return nil }
            return db.world.answersOfPlan[query.key].map { .answers($0, changes: 0) }
        },
        rule(
            name: "holds are not looked at again",
            description: "a rule deletes a tag although there is a hold since the plan was made"
        ) { query, db in
            if query.asksForPlannedTag { db.recorded.note = [SQLRow([])] }
            guard query.says("FROM retention_hold"), !db.recorded.note.isEmpty else { return nil }
            return db.world.answersOfPlan[query.key].map { .answers($0, changes: 0) }
        },
        rule(
            name: "holds stop only rules",
            description: "whoever asks for a deletion is not stopped by a hold"
        ) { query, db in
            if query.asksForTag { db.recorded.note = [SQLRow([])] }
            return query.says("FROM retention_hold") && !db.recorded.note.isEmpty ? .answers([], changes: 0) : nil
        },
        rule(
            name: "legal holds do not stop pushes",
            description: "a push moves a tag away from what a legal hold is on"
        ) { query, db in
            if query.says("SELECT id FROM media_type") { db.recorded.note = [SQLRow([])] }
            return query.says("FROM retention_hold") && !db.recorded.note.isEmpty ? .answers([], changes: 0) : nil
        },
        rule(
            name: "held manifests are collected",
            description: "the collector does not look at holds"
        ) { query, _ in
            query.says("SELECT 1 FROM retention_hold") ? .answers([], changes: 0) : nil
        },
        rule(
            name: "immutable tags move",
            description: "whoever pushes or deletes does not ask which tags are immutable"
        ) { query, db in
            if query.asksForTag { db.recorded.note = [SQLRow([])] }
            return query.says("FROM retention_policy") && !db.recorded.note.isEmpty ? .answers([], changes: 0) : nil
        },
        rule(
            name: "deleted tags are forgotten",
            description: "what is kept of a deleted tag goes before the time in which it can be put back is over"
        ) { query, _ in
            query.says("INSERT INTO deleted_tag") ? .runs(query.setting("restorable_until", to: 0)) : nil
        },
        rule(
            name: "what a rule deletes goes at once",
            description: "a manifest that a rule took the last tag from does not stay for the window"
        ) { query, db in
            if query.asksForPlannedTag { db.recorded.note = [SQLRow([])] }
            guard !db.recorded.note.isEmpty else { return nil }
            if query.says("UPDATE manifest SET keep_until") { return .answers([], changes: 1) }
            return query.says("INSERT INTO gc_hint") ? .runs(query.setting("due_at", to: db.now)) : nil
        },
        misread(
            name: "versions are not compared",
            description: "a rule that keeps the last versions keeps what was pushed last",
            adapt: { $0.tags = Content.versions },
            #""by": "version""#,
            as: #""by": "pushed""#
        ),
        misread(
            name: "platforms are not counted",
            description: "a rule that keeps the last of each platform keeps the last of all",
            #", "perPlatform": true"#,
            as: ""
        ),
        misread(
            name: "untagged manifests are not kept",
            description: "a rule that keeps untagged manifests does nothing",
            adapt: { ($0.deletesUntagged, $0.keepsUntagged) = (true, true) },
            #"{"keep": "untagged"}"#,
            as: #"{"keep": "always", "tags": ["none"]}"#
        ),
    ]

    /// Whoever reads a policy reads another one.
    private static func misread(
        name: String,
        description: String,
        adapt: @escaping @Sendable (inout Plan) -> Void = { _ in },
        _ text: String,
        as other: String
    ) -> SeededBug {
        SeededBug(
            name: name,
            description: description,
            adapt: { plan in
                plan.deletesTags = true
                adapt(&plan)
            },
            misread: { query in
                guard query.says("created_at, document FROM retention_policy") else { return query }
                return query.replacing("document", by: "replace(document, '\(text)', '\(other)')")
            }
        )
    }

    private static func rule(
        name: String,
        description: String,
        change: @escaping @Sendable (Query, RecordedTransaction) -> Deed?
    ) -> SeededBug {
        SeededBug(name: name, description: description, adapt: { $0.deletesTags = true }, change: change)
    }
}

extension Query {
    /// What a rule asks again about a tag.
    fileprivate var asksForPlannedTag: Bool { says("SELECT 1 FROM tag", "updated_at") }
    /// What whoever moves or deletes a tag asks first.
    fileprivate var asksForTag: Bool { says("SELECT manifest_id FROM tag WHERE repo_id") }
    /// Queries that are equal have equal keys.
    var key: String { "\(sql)\(values)" }
}
