import OCI
import SQLStore

/// What a collector should look at later.
enum HintKind: Int64, CaseIterable {
    /// A manifest that something let go of: it goes if the retention policy says so.
    case manifest = 1
    /// A repository's link to a blob.
    case link = 2
    /// A blob that a repository let go of.
    case blob = 3
    /// A manifest that a rule let go of: it goes unless something names it again.
    case condemned = 4
}

extension SQLTransaction {
    func hint(_ kind: HintKind, _ refs: [Int64], dueIn delay: Int64, reason: String? = nil) throws {
        try hint(kind, refs.map { ($0, now + delay) }, reason: reason)
    }

    func hint(_ kind: HintKind, _ dues: [(ref: Int64, at: Int64)], reason: String? = nil) throws {
        let reason = reason.map { $0.sqlValue } ?? .null(.text)
        try inBatches(dues) { some in
            """
            INSERT INTO gc_hint (kind, due_at, ref, reason)
            VALUES \(rows: some.map { [kind.rawValue.sqlValue, $0.at.sqlValue, $0.ref.sqlValue, reason] })
            """
        }
    }

    func hint(blobs: [Digest], dueIn delay: Int64) throws {
        try inBatches(blobs) { some in
            """
            INSERT INTO gc_hint (kind, due_at, digest)
            VALUES \(rows: some.map { [HintKind.blob.rawValue.sqlValue, (now + delay).sqlValue, $0.sqlValue] })
            """
        }
    }

    /// Rows of due hints that no other collector has, oldest first: id, ref, digest, reason.
    func dueHints(_ kind: HintKind, limit: Int) throws -> [SQLRow] {
        try run(.dueHints(kind, before: now, limit: limit))
    }

    /// Hints are claimed and dropped in one transaction: a collector that dies in between has done nothing.
    func drop(hints: [Int64]) throws {
        try inBatches(hints) { "DELETE FROM gc_hint WHERE id IN \(list: $0)" }
    }
}

extension Query {
    static func dueHints(_ kind: HintKind, before now: Int64, limit: Int) -> Query {
        """
        SELECT id, ref, digest, reason FROM gc_hint WHERE kind = \(kind.rawValue) AND due_at <= \(now)
        ORDER BY due_at LIMIT \(Int64(limit)) \(lock: .updateUnlessLocked)
        """
    }
}
