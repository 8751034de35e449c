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

    /// As a word of a statement. SQLite prepares a statement anew each time that a value is bound which decides whether a
    /// partial index serves it, as that of the condemned.
    var word: StaticString {
        switch self {
        case .manifest: "1"
        case .link: "2"
        case .blob: "3"
        case .condemned: "4"
        }
    }
}

/// Why a manifest is to go, and since when. It goes unless it was named again since.
struct Sentence: Sendable {
    let reason: String
    let since: Int64
}

extension SQLTransaction {
    func hint(_ kind: HintKind, _ refs: [Int64], dueIn delay: Int64, _ sentence: Sentence? = nil) throws {
        try hint(kind, refs.map { ($0, now + delay) }, sentence)
    }

    func hint(_ kind: HintKind, _ dues: [(ref: Int64, at: Int64)], _ sentence: Sentence? = nil) throws {
        let reason = sentence.map { $0.reason.sqlValue } ?? .null(.text)
        let since = sentence.map { $0.since.sqlValue } ?? .null(.integer)
        try startInBatches(dues) { some in
            """
            INSERT INTO gc_hint (kind, due_at, ref, reason, since)
            VALUES \(rows: some.map { [kind.rawValue.sqlValue, $0.at.sqlValue, $0.ref.sqlValue, reason, since] })
            """
        }
    }

    func hint(blobs: [Digest], dueIn delay: Int64) throws {
        try startInBatches(blobs) { some in
            """
            INSERT INTO gc_hint (kind, due_at, digest)
            VALUES \(rows: some.map { [HintKind.blob.rawValue.sqlValue, (now + delay).sqlValue, $0.sqlValue] })
            """
        }
    }

    /// Somebody names these manifests, which they have locked: what was said of them before holds no more.
    func revive(_ manifests: [Int64]) throws {
        let condemned = try inBatches(manifests) {
            "SELECT ref, max(since) FROM gc_hint WHERE kind = 4 AND ref IN \(list: $0) GROUP BY ref ORDER BY ref"
        }
        for row in condemned {
            try run("UPDATE manifest SET created_at = \(max(now, row.int(1) + 1)) WHERE id = \(row.int(0))")
        }
    }

    /// Rows of due hints that no other collector has, oldest first: id, ref, digest, reason, since.
    func dueHints(_ kind: HintKind, limit: Int) throws -> [SQLRow] {
        try run(.dueHints(kind, before: now, limit: limit))
    }

    /// Hints are claimed and dropped in one transaction: a collector that dies in between has done nothing.
    func drop(hints: [Int64]) throws {
        try startInBatches(hints) { "DELETE FROM gc_hint WHERE id IN \(list: $0)" }
    }
}

extension Query {
    static func dueHints(_ kind: HintKind, before now: Int64, limit: Int) -> Query {
        """
        SELECT id, ref, digest, reason, since FROM gc_hint WHERE kind = \(word: kind.word) AND due_at <= \(now)
        ORDER BY due_at LIMIT \(Int64(limit)) \(lock: .updateUnlessLocked)
        """
    }
}
