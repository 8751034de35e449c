@testable import Metadata
import OCI
import SQLStore

/// Remembers what clients were told, and asks the database after every step, in SQL of its own, whether that still holds
/// and whether all invariants do.
final class Witness {
    struct Thing: Hashable {
        enum Kind: Int64 { case blob, manifest }
        let kind: Kind
        let repository: RepositoryName
        let digest: Digest
    }

    /// What somebody begins to do to a tag.
    struct Move {
        fileprivate let place: Place
        fileprivate let change: Belief<Digest?>.Change
        /// What the tag may have named before.
        var before: Set<Digest?> { change.before }
    }

    /// When an operation began, for a promise that it may make.
    struct Moment {
        let now: Int64
        fileprivate let releases: Int
    }

    struct Violation: Error, CustomStringConvertible {
        let description: String
    }

    struct Place: Hashable {
        let repository: RepositoryName
        let tag: Tag
    }

    private struct Doubt {
        var named = Belief<Digest?>(nil)
        var ever: Set<Digest> = []
        var deleted: (digest: Digest, at: Int64)?
    }

    private struct Release {
        var underWay = 0
        /// Of ``releases``, when the last one began.
        var last = 0
    }

    let sql: SimulatedSQLite
    let scheduler: Scheduler
    private var doubts: [Place: Doubt] = [:]
    private var released: [Thing: Release] = [:]
    private var releases = 0
    var rules = Rules()
    /// Whether rules delete tags.
    var watchesRules = false
    /// There is something to look at.
    var isWatching = false
    /// Something that happened may have broken something.
    var isDue = true
    /// What a client saw that it should not have seen.
    private var complaint: String?

    init(_ sql: SimulatedSQLite, _ scheduler: Scheduler) throws {
        (self.sql, self.scheduler) = (sql, scheduler)
        guard let content = Content.standard else { throw Violation(description: "there is no content") }
        try sql.transaction(now: 0) { db in
            for image in content.images {
                for blob in Set(image.blobs) {
                    try db.run(
                        """
                        INSERT INTO witness.image_blob (manifest, blob)
                        VALUES (\(image.manifest.digest), \(content.blobs[blob].digest))
                        """
                    )
                }
            }
        }
    }

    // MARK: - What happens to tags

    /// Somebody is about to do what may make a tag name one of these, or nothing.
    func begin(_ tag: Tag, in repository: RepositoryName, to values: Set<Digest?>) throws -> Move {
        let place = Place(repository: repository, tag: tag)
        var doubt = doubts[place] ?? Doubt()
        let move = Move(place: place, change: doubt.named.begin(values))
        doubt.deleted = nil
        doubt.ever.formUnion(values.compactMap(\.self))
        try set(doubt, place)
        return move
    }

    /// - Parameter values: what it may name now, as far as nobody else did anything to it meanwhile; nil if that is not
    ///   known.
    /// - Returns: whether nobody else did.
    @discardableResult
    func end(_ move: Move, _ values: Set<Digest?>?) throws -> Bool {
        var doubt = doubts[move.place] ?? Doubt()
        let wasAlone = doubt.named.end(move.change, values)
        try set(doubt, move.place)
        return wasAlone
    }

    /// All that it has ever named.
    func ever(_ tag: Tag, in repository: RepositoryName) -> Set<Digest> {
        doubts[Place(repository: repository, tag: tag)]?.ever ?? []
    }

    /// A tag was deleted that named this for certain.
    func deleted(_ tag: Tag, in repository: RepositoryName, _ digest: Digest, at now: Int64) {
        doubts[Place(repository: repository, tag: tag)]?.deleted = (digest, now)
    }

    /// A rule deleted a tag, whoever else was about to do something to it.
    func wasDeletedByRule(_ place: Place, _ digest: Digest) throws {
        var doubt = doubts[place] ?? Doubt()
        doubt.deleted = doubt.named.become(nil) ? (digest, scheduler.now) : nil
        try set(doubt, place)
    }

    /// What a tag named when it was deleted, and when that was, if nobody has done anything to it since.
    func lastDeleted(_ tag: Tag, in repository: RepositoryName) -> (digest: Digest, at: Int64)? {
        doubts[Place(repository: repository, tag: tag)]?.deleted
    }

    private func set(_ doubt: Doubt, _ place: Place) throws {
        let isSame = doubts[place]?.named.possible == doubt.named.possible
        doubts[place] = doubt
        if isSame { return }
        isDue = true
        try sql.rows(
            "DELETE FROM witness.possible WHERE repository = \(place.repository) AND tag = \(place.tag)",
            now: 0
        )
        for value in doubt.named.possible {
            try sql.rows(
                """
                INSERT INTO witness.possible (repository, tag, digest)
                VALUES (\(place.repository), \(place.tag), \(optional: value))
                """,
                now: 0
            )
        }
    }

    // MARK: - What was promised

    func moment() -> Moment { Moment(now: scheduler.now, releases: releases) }

    /// A client was told that it may rely on something.
    func promise(_ thing: Thing, since moment: Moment, for window: Int64) throws {
        let release = released[thing] ?? Release()
        guard release.underWay == 0, release.last <= moment.releases else { return }
        isDue = true
        try sql.rows(
            """
            INSERT INTO witness.promise (kind, repository, digest, until)
            VALUES (\(thing.kind.rawValue), \(thing.repository), \(thing.digest), \(moment.now + window))
            ON CONFLICT DO UPDATE SET until = max(until, excluded.until)
            """,
            now: 0
        )
    }

    /// A client asks for the end of something that may have been promised.
    func beginRelease(_ thing: Thing) throws {
        releases += 1
        released[thing, default: Release()].underWay += 1
        released[thing]?.last = releases
        try sql.rows(
            """
            DELETE FROM witness.promise
            WHERE kind = \(thing.kind.rawValue) AND repository = \(thing.repository) AND digest = \(thing.digest)
            """,
            now: 0
        )
        try sql.rows(
            """
            INSERT INTO witness.released (kind, repository, digest)
            VALUES (\(thing.kind.rawValue), \(thing.repository), \(thing.digest)) ON CONFLICT DO NOTHING
            """,
            now: 0
        )
    }

    /// A client was told that a manifest is deleted, which it can undo for a window.
    func keep(_ digest: Digest, in repository: RepositoryName, since moment: Moment, for window: Int64) throws {
        isDue = true
        try sql.rows(
            """
            INSERT INTO witness.kept (repository, digest, until)
            VALUES (\(repository), \(digest), \(moment.now + window))
            """,
            now: 0
        )
    }

    /// Whether a manifest is gone that a client was told to be able to put back.
    func isKept(_ digest: Digest, in repository: RepositoryName) throws -> Bool {
        try !sql.rows(
            """
            SELECT 1 FROM witness.kept k WHERE k.repository = \(repository) AND k.digest = \(digest)
            AND k.until > \(scheduler.now) AND NOT EXISTS (SELECT 1 FROM repository r JOIN manifest m ON m.repo_id = r.id
                WHERE r.name = k.repository AND m.digest = k.digest)
            """,
            now: 0
        ).isEmpty
    }

    func endRelease(_ thing: Thing) { released[thing]?.underWay -= 1 }

    /// Whether a client ever asked for its end.
    func wasReleased(_ thing: Thing) -> Bool { released[thing] != nil }

    func complain(_ text: String) { complaint = complaint ?? text }

    // MARK: - Whether it holds

    func check() throws {
        if let complaint { throw Violation(description: complaint) }
        guard isDue, isWatching else { return }
        if watchesRules { try checkRules() }
        isDue = false
        let rows = try sql.rows(.violations(at: scheduler.now), now: scheduler.now)
        if let row = rows.first { throw Violation(description: row.text(0)) }
    }

    /// After everything is over and every grace: nothing is left that nothing refers to.
    ///
    /// - Parameters:
    ///   - repositories: where manifests without a name do not stay.
    ///   - late: whether an object may be left that was written when its key was no longer kept.
    func checkNothingIsLeft(untaggedIn repositories: [RepositoryName], late: Bool) throws {
        try checkDoomedAreGone()
        let rows = try sql.rows(.leftovers(untaggedIn: repositories, late: late), now: scheduler.now)
        if let row = rows.first { throw Violation(description: row.text(0)) }
    }
}
