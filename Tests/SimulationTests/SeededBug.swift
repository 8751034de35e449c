import Foundation
import OCI

@testable import Metadata
@testable import SQLStore

/// What a defect makes of a statement.
enum Deed {
    case runs(Query)
    /// Nothing is done; this is said.
    case answers([SQLRow], changes: Int)
    /// As if the transaction held no lock: others go on before its next statement.
    case pausesAfter(Query)
}

/// A defect that a program like this might have, put between it and its database. The simulation must find each.
struct SeededBug: Sendable, CustomStringConvertible {
    let name: String
    /// What is wrong.
    let description: String
    /// Seeds within which it must be found.
    var limit: UInt64 = 10_000
    /// Makes the plan of a seed one in which it can show.
    var adapt: @Sendable (inout Plan) -> Void = { _ in }
    var change: @Sendable (Query, RecordedTransaction) -> Deed? = { _, _ in nil }
    /// What it makes of a question wherever it is asked, also for a plan.
    var misread: @Sendable (Query) -> Query = { $0 }
    var makeKey: (@Sendable (World) -> [UInt8]?)?

    func deed(_ query: Query, in transaction: RecordedTransaction) -> Deed {
        change(query, transaction) ?? .runs(misread(query))
    }

    /// Whether keys are used again: then deletions are repeated by the network, as a client of a store may do it.
    var usesKeysAgain: Bool { makeKey != nil }

    /// A storage key in place of a random one.
    func key(_ count: Int, in world: World) -> [UInt8]? { count == 16 ? makeKey?(world) : nil }
}

extension Query {
    func says(_ words: String...) -> Bool { words.allSatisfy { sql.contains($0) } }

    func replacing(_ old: String, by new: String) -> Query {
        Query(sql: sql.replacingOccurrences(of: old, with: new), values: values)
    }
}

extension SeededBug {
    static let all: [SeededBug] = locks + promises + hints + objects + deletions + rules

    private static let locks = [
        SeededBug(
            name: "check, then lock: links",
            description: "the collector asks for edges before it locks the links, and does not ask again",
            change: { query, db in
                if query.says("SELECT id, lease_until FROM repo_blob") {
                    db.recorded.note = db.ask(
                        "SELECT id FROM repo_blob l WHERE NOT EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = l.id)"
                    )
                    return .pausesAfter(query)
                }
                guard query.says("DELETE FROM repo_blob", "NOT EXISTS") else { return nil }
                let free = Set(db.recorded.note.map { $0.int(0) })
                let links = query.ids.filter { free.contains($0) }
                return .runs("DELETE FROM repo_blob WHERE id IN \(list: links) RETURNING digest")
            }
        ),
        SeededBug(
            name: "check, then lock: blobs",
            description: "the collector does not hold the lock on a blob from its check to its deletion",
            change: { query, _ in
                query.says("SELECT b.digest, b.size FROM blob b", "NOT EXISTS") ? .pausesAfter(query) : nil
            }
        ),
        SeededBug(
            name: "DO NOTHING as a lock",
            description: "an upload takes ON CONFLICT DO NOTHING for a lock on the blob that was there",
            change: { query, _ in
                query.says("SELECT digest FROM blob WHERE", "FOR KEY SHARE") ? .pausesAfter(query) : nil
            }
        ),
        SeededBug(
            name: "parents are not looked at",
            description: "the collector asks only for tags before it removes a manifest, not for indexes",
            change: { query, _ in
                query.says("manifest_child", "UNION ALL", "FROM tag") && !query.says("JOIN")
                    ? .runs("SELECT 1 FROM tag WHERE manifest_id = \(query.id)") : nil
            }
        ),
    ]

    private static let promises = [
        SeededBug(
            name: "no lease",
            description: "the collector does not look at leases",
            change: { query, _ in
                query.says("SELECT id, lease_until FROM repo_blob")
                    ? .runs(query.replacing("SELECT id, lease_until", by: "SELECT id, 0")) : nil
            }
        ),
        SeededBug(
            name: "HEAD of a blob promises nothing",
            description: "a HEAD that finds a lease that is almost over does not extend it",
            change: { query, _ in
                query.says("UPDATE repo_blob SET lease_until", "WHERE id = $2") ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "forgotten promise of a child",
            description: "a HEAD of an untagged manifest, after which clients skip its push, does not keep it",
            adapt: { $0.deletesUntagged = true },
            change: { query, _ in
                query.says("UPDATE manifest SET keep_until") && !query.says("AND keep_until <")
                    ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "deletion without grace",
            description:
                "a deleted manifest lets go of its blobs at once, although clients were told that they are there",
            change: { query, db in
                if query.says("UPDATE repo_blob SET lease_until", "AND lease_until <") {
                    db.recorded.note = [SQLRow([])]
                    return .answers([], changes: 0)
                }
                return query.says("INSERT INTO gc_hint (kind, due_at, ref")
                    && query.values.first == .integer(2)
                    && !db.recorded.note.isEmpty ? .runs(query.setting("due_at", to: db.now)) : nil
            }
        ),
    ]

    private static let hints = [
        SeededBug(
            name: "lost hint: links",
            description: "whoever removes edges leaves no hint for the links",
            change: { query, _ in
                query.says("INSERT INTO gc_hint (kind, due_at, ref") && query.values.first == .integer(2)
                    ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "lost hint: blobs",
            description: "the collector of links leaves no hint for the blobs",
            change: { query, _ in
                query.says("INSERT INTO gc_hint (kind, due_at, digest)") ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "lost hint: moved tags",
            description: "a tag that is moved or deleted leaves no hint for the manifest that it named",
            adapt: { $0.deletesUntagged = true },
            change: { query, _ in
                query.says("INSERT INTO gc_hint (kind, due_at, ref") && query.values.first == .integer(1)
                    ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "lost hint: condemned manifests",
            description: "a rule leaves no hint for the manifest that it took the last name from",
            adapt: { ($0.deletesTags, $0.deletesUntagged) = (true, false) },
            change: { query, _ in
                query.says("INSERT INTO gc_hint (kind, due_at, ref") && query.values.first == .integer(4)
                    ? .answers([], changes: 1) : nil
            }
        ),
    ]

    private static let objects = [
        SeededBug(
            name: "reused keys",
            description: "a key is used again once its object was deleted, as where keys are made of digests",
            adapt: { plan in (plan.kind, plan.faults) = (.network, 60) },
            makeKey: { world in world.takeUsedKey() }
        ),
        SeededBug(
            name: "object before row",
            description: "a blob's object is deleted before the transaction that removes its row has committed",
            change: { query, db in
                guard query.says("SELECT b.digest, b.size FROM blob b", "NOT EXISTS") else { return nil }
                let keys = db.ask(query).flatMap { row in
                    db.ask("SELECT skey FROM blob_copy WHERE digest = \(row.bytes(0))").map { $0.bytes(0) }
                }
                let world = db.world
                db.recorded.whilePaused = { for key in keys { world.loseObject(key) } }
                return .pausesAfter(query)
            }
        ),
        SeededBug(
            name: "trash without delay",
            description: "the object of a collected blob is deleted at once, under those who read it",
            adapt: { plan in (plan.kind, plan.deletesBlobs, plan.deeds) = (.network, true, 15) },
            change: { query, db in
                query.says("INSERT INTO object_trash (skey, region, delete_after")
                    ? .runs(query.setting("delete_after", to: db.now)) : nil
            }
        ),
        SeededBug(
            name: "condemned keys are published",
            description: "an upload does not check that its key is still in the trash and nobody's to delete",
            change: { query, _ in
                query.says("DELETE FROM object_trash", "claimed_until IS NULL RETURNING")
                    ? .answers(query.values.map { SQLRow([$0]) }, changes: query.values.count) : nil
            }
        ),
        SeededBug(
            name: "keys are not born in the trash",
            description: "a key is noted when its object is published, not before the object is written",
            change: { query, _ in
                query.says("INSERT INTO object_trash (skey, delete_after, claimed_until)")
                    && query.values[2] == .null(.integer)
                    ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "the loser's key is forgotten",
            description: "of two uploads of a blob, the one that comes second does not put its key back into the trash",
            change: { query, _ in
                query.says("INSERT INTO object_trash (skey, delete_after, claimed_until)")
                    && query.values[2] != .null(.integer)
                    ? .answers([], changes: 1) : nil
            }
        ),
    ]

    private static let deletions = [
        SeededBug(
            name: "restore without edges",
            description: "a manifest that is put back is not connected with its blobs",
            change: { query, db in
                if query.says("FROM deleted_manifest d JOIN media_type") { db.recorded.note = [SQLRow([])] }
                return query.says("INSERT INTO manifest_blob") && !db.recorded.note.isEmpty
                    ? .answers([], changes: 1) : nil
            }
        ),
        SeededBug(
            name: "deleted manifests are forgotten",
            description: "what is kept of a deleted manifest goes before the time in which it can be put back is over",
            change: { query, _ in
                query.says("DELETE FROM deleted_manifest WHERE id IN")
                    ? .runs(query.replacing("restorable_until <=", by: "0 <")) : nil
            }
        ),
        SeededBug(
            name: "an index forgets what is pushed after it",
            description: "an index that is put back does not know the manifests that it lists",
            change: { query, _ in
                query.says("UPDATE manifest_child SET child_id = $1") ? .answers([], changes: 0) : nil
            }
        ),
    ]
}

extension Query {
    /// The values, where all are ids.
    fileprivate var ids: [Int64] {
        values.compactMap { value in
            if case .integer(let id) = value { id } else { nil }
        }
    }

    /// The id that the first value is.
    var id: Int64 { ids.first ?? 0 }

    /// The rows of an INSERT with another value in a column.
    func setting(_ column: String, to value: Int64) -> Query {
        let list = sql.drop { $0 != "(" }.dropFirst().prefix { $0 != ")" }
        let columns = list.split(separator: ",").map { $0.drop { $0 == " " } }
        guard let index = columns.firstIndex(where: { $0 == column }) else { return self }
        return Query(sql: sql, values: values.enumerated().map { $0 % columns.count == index ? .integer(value) : $1 })
    }
}
