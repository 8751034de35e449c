import Metadata
import OCI

/// What a seed decides once for a whole run.
struct Plan: Sendable {
    let seed: UInt64
    var kind: SimulatedObjects.Kind
    /// Of a thousand steps.
    var faults: Int
    /// How far the clock of each node is ahead, in seconds.
    var skew: [Int64]
    /// Whether manifests go a day after nothing names them any more.
    var deletesUntagged: Bool
    /// Whether there are rules that delete tags, and holds.
    var deletesTags: Bool
    /// Whether owners have rules that keep untagged manifests.
    var keepsUntagged: Bool
    /// Some seeds have tags that are versions.
    var tags: [Tag]
    /// How many times as long clients think.
    var patience: Int64
    var keepsForeignKeys: Bool
    var deletesBlobs: Bool
    var deletesRepositories: Bool
    var promises = Promises.standard
    var clients = 3
    var deeds = 6
    var isTraced = false

    init(seed: UInt64) {
        var chance = Chance(seed: seed ^ 0xD1CE)
        self.seed = seed
        kind = chance.hits(500) ? .files : .network
        faults = chance.pick([0, 5, 20, 60])
        skew = [chance.pick([0, 3600, -3600]), 0]
        deletesUntagged = chance.hits(600)
        keepsForeignKeys = chance.hits(500)
        deletesBlobs = chance.hits(250)
        deletesRepositories = chance.hits(200)
        deletesTags = chance.hits(400)
        patience = deletesTags && chance.hits(400) ? 4 : 1
        keepsUntagged = chance.hits(300)
        tags = chance.hits(300) ? Content.versions : Content.tags
    }
}
