import BlobStorage
import Housekeeping
import Logging
import RegistryCore
import SQLStore
import Telemetry

@testable import Metadata

/// A process of the registry. When it ends, all that it has in memory is lost, and nothing that it had begun goes on.
// Unchecked: all tasks of a run share the one thread of its scheduler.
final class SimulatedProcess: @unchecked Sendable {
    let world: World
    let node: Int
    fileprivate(set) var isAlive = true

    struct Ended: Error {}

    init(_ world: World, node: Int) { (self.world, self.node) = (world, node) }

    /// Waits for a turn.
    func step(_ name: @autoclosure () -> String, after delay: Int64 = 0) async throws -> World {
        guard isAlive else { throw Ended() }
        try await world.scheduler.turn(after: delay)
        guard isAlive else { throw Ended() }
        world.log("node \(node): \(name())")
        return world
    }
}

/// A process and what it is made of.
struct Node {
    let process: SimulatedProcess
    let metadata: MetadataStore
    let store: SimulatedStore
    let registry: Registry
    let collector: Collector
    let retention: RetentionService
}

/// A round of the rules logs what goes wrong in one repository, and goes on. The witness reads of what nobody injected.
private struct SimulatedLog: LogHandler {
    let world: World
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    private static let injected = [
        "simulated", "\(BlobStorageError.full)", "\(SimulatedProcess.Ended())", "\(Scheduler.Halted())",
    ]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let error = event.metadata?["error"].map { "\($0)" } ?? ""
        guard !Self.injected.contains(where: error.contains) else { return }
        world.witness.complain("\(event.message): \(error)")
    }
}

/// Everything in one run: two nodes, their database and object store, and the witness who watches.
// Unchecked: all tasks of a run share the one thread of its scheduler.
final class World: @unchecked Sendable {
    let plan: Plan
    let scheduler: Scheduler
    let sql: SimulatedSQLite
    let objects: SimulatedObjects
    let witness: Witness
    let bug: SeededBug?
    var faults: Faults
    private(set) var nodes: [Node] = []
    private(set) var trace: [String] = []
    private(set) var crashes = 0
    /// When each storage key was made.
    private var keys: [[UInt8]: Int64] = [:]
    /// The clients are done.
    var isOver = false
    /// Keys whose objects are gone, for a seeded bug that uses them again.
    var usedKeys: [[UInt8]] = []
    /// What was found when a plan was made last, by query, for a seeded bug that does not ask again.
    var answersOfPlan: [String: [SQLRow]] = [:]

    private let authorizerSecret = Array(repeating: UInt8(7), count: 32)
    private let silent = Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() }

    init(_ plan: Plan, sql: SimulatedSQLite, bug: SeededBug? = nil) throws {
        (self.plan, self.sql, self.bug) = (plan, sql, bug)
        scheduler = Scheduler(seed: plan.seed)
        try sql.reset(keepsForeignKeys: plan.keepsForeignKeys && bug == nil)
        let witness = try Witness(sql, scheduler)
        self.witness = witness
        witness.watchesRules = plan.deletesTags
        objects = SimulatedObjects(plan.kind, sql) { witness.isDue = true }
        faults = Faults(scheduler: scheduler)
        objects.isOld = { [unowned self] key in
            keys[key.bytes].map { scheduler.now - $0 >= plan.promises.upload } ?? false
        }
        for index in 0..<2 { nodes.append(start(index)) }
    }

    /// Lets go of the nodes, which hold their world.
    func end() { nodes = [] }

    private func start(_ index: Int) -> Node {
        let process = SimulatedProcess(self, node: index)
        let metadata = MetadataStore(SimulatedDatabase(process: process), promises: plan.promises)
        let store = SimulatedStore(process: process, objects: objects)
        let registry = Registry(
            metadata: metadata,
            blobs: store,
            policy: RegistryPolicy(writeSize: 8000, keyBatch: 3),
            downloads: nil,
            metrics: RegistryMetrics(Metrics()),
            uploadSecret: authorizerSecret,
            surroundings: surroundings(of: index),
            logger: silent
        )
        let collector = Collector(
            metadata: metadata,
            blobs: store,
            pace: .unlimited,
            metrics: nil,
            logger: silent
        )
        let retention = RetentionService(
            metadata,
            store,
            pace: .unlimited,
            metrics: RetentionMetrics(Metrics()),
            interval: .seconds(3600),
            logger: Logger(label: "simulation") { _ in SimulatedLog(world: self) }
        )
        return Node(
            process: process,
            metadata: metadata,
            store: store,
            registry: registry,
            collector: collector,
            retention: retention
        )
    }

    /// A node's clock may be wrong; the database's is the one that counts.
    private func surroundings(of index: Int) -> Surroundings {
        let skew = plan.skew[index]
        return Surroundings(
            now: { [self] in scheduler.now / 1000 + skew },
            uptime: { [self] in .milliseconds(scheduler.now) },
            randomBytes: { [self] count in
                if let key = bug?.key(count, in: self) { return key }
                let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: scheduler.chance.next()) }
                if count == StorageKey.size { keys[bytes] = scheduler.now }
                return bytes
            }
        )
    }

    /// Ends a process and starts another one in its place.
    ///
    /// - Returns: what the process is told from now on.
    func crash(_ process: SimulatedProcess) -> SimulatedProcess.Ended {
        guard process.isAlive else { return SimulatedProcess.Ended() }
        process.isAlive = false
        crashes += 1
        log("node \(process.node) crashes")
        // The other node's transactions have ended: each is one step. Not every time, because it takes most of a run's time.
        do {
            if crashes == 1, plan.seed % 4 == 0 { try sql.reopen() }
        } catch {
            witness.complain("the database does not open again: \(error)")
        }
        nodes[process.node] = start(process.node)
        return SimulatedProcess.Ended()
    }

    /// Does something by and by that nobody waits for: a request that is still on its way.
    func later(after delay: Int64, _ effect: @escaping () -> Void) {
        nonisolated(unsafe) let effect = effect
        let scheduler = scheduler
        Task {
            do { try await scheduler.turn(after: delay) } catch { return }
            log("a late request arrives")
            effect()
        }
    }

    func log(_ line: @autoclosure () -> String) {
        guard plan.isTraced, witness.isWatching else { return }
        trace.append("\(scheduler.steps) \(Self.time(scheduler.now)) \(line())")
    }

    private static func time(_ milliseconds: Int64) -> String {
        let seconds = (milliseconds - 1_800_000_000_000) / 1000
        return "\(seconds / 3600)h\(seconds / 60 % 60)m\(seconds % 60)s"
    }
}
