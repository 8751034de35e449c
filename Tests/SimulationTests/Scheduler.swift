import Foundation

/// Runs tasks one at a time on the thread that called ``run(_:afterStep:)``, in an order that a seed decides, by a clock
/// that jumps. Every task that is started on that thread runs on it, whoever starts it.
///
/// A task runs until it waits for its turn, which it does before everything that another one could notice: each
/// transaction, each request to the object store, each wait. Whose turn is next is drawn.
// Unchecked: all that is done with it is done on its own thread.
final class Scheduler: @unchecked Sendable {
    /// Whatever is decided by chance.
    var chance: Chance
    /// Milliseconds since 1970.
    private(set) var now: Int64 = 1_800_000_000_000
    /// How many turns there were.
    private(set) var steps = 0
    /// No turn is given any more: everybody is to end.
    private(set) var isHalted = false

    private var jobs: [UnownedJob] = []
    private var waiting: [(from: Int64, continuation: UnsafeContinuation<Void, Never>)] = []
    private let executor = Executor()

    /// Far more than any run takes.
    private static let maximumSteps = 60_000

    struct Halted: Error {}
    struct TakesForEver: Error {}

    init(seed: UInt64) { chance = Chance(seed: seed) }

    /// Waits for a turn.
    func turn(after delay: Int64 = 0) async throws {
        guard !isHalted else { throw Halted() }
        await withUnsafeContinuation { waiting.append((now + delay, $0)) }
        guard !isHalted else { throw Halted() }
    }

    /// Returns when `body` has.
    ///
    /// - Parameter afterStep: called whenever all tasks wait; what it throws ends the run.
    func run(_ body: @escaping @Sendable () async -> Void, afterStep: () throws -> Void) throws {
        guard JobHook.isInstalled else { throw TakesForEver() }
        JobHook.scheduler = self
        defer { JobHook.scheduler = nil }
        nonisolated(unsafe) var isDone = false
        var failure: (any Error)?
        Task {
            await body()
            isDone = true
        }
        while true {
            drain()
            if isDone { break }
            do {
                if !isHalted { try afterStep() }
                if steps > Self.maximumSteps { throw TakesForEver() }
            } catch {
                failure = failure ?? error
                isHalted = true
            }
            guard resumeOne() else {
                failure = failure ?? TakesForEver()
                break
            }
        }
        if let failure { throw failure }
        try afterStep()
    }

    func enqueue(_ job: UnownedJob) { jobs.append(job) }

    private func drain() {
        var next = 0
        while next < jobs.count {
            jobs[next].runSynchronously(on: executor.asUnownedTaskExecutor())
            next += 1
        }
        jobs.removeAll(keepingCapacity: true)
    }

    private func resumeOne() -> Bool {
        guard let earliest = waiting.map(\.from).min() else { return false }
        now = max(now + chance.upTo(3), earliest)
        let due = waiting.indices.filter { waiting[$0].from <= now }
        let chosen = due[Int(chance.upTo(Int64(due.count - 1)))]
        steps += 1
        waiting.remove(at: chosen).continuation.resume()
        return true
    }

    private final class Executor: TaskExecutor {
        func enqueue(_ job: consuming ExecutorJob) { JobHook.scheduler?.enqueue(UnownedJob(job)) }
    }
}

/// Chance that repeats itself: SplitMix64.
struct Chance: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678 }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// 0 to `limit`.
    mutating func upTo(_ limit: Int64) -> Int64 { Int64(next() % UInt64(limit + 1)) }
    mutating func index(_ count: Int) -> Int { Int(next() % UInt64(count)) }
    /// True with this probability.
    mutating func hits(_ permille: Int) -> Bool { next() % 1000 < UInt64(permille) }
    mutating func pick<Item>(_ items: [Item]) -> Item { items[index(items.count)] }
}

/// Where the runtime asks what to do with a task that may run. For tasks that are started on a scheduler's thread, the
/// scheduler decides; for all others nothing changes.
enum JobHook {
    private typealias Original = @convention(thin) (UnownedJob) -> Void
    private typealias Hook = @convention(thin) (UnownedJob, Original) -> Void

    /// False if this runtime has no such place.
    static let isInstalled: Bool = {
        guard let symbol = dlsym(dlopen(nil, RTLD_LAZY), "swift_task_enqueueGlobal_hook") else { return false }
        symbol.assumingMemoryBound(to: Hook?.self).pointee = { job, original in
            if let scheduler = JobHook.scheduler { scheduler.enqueue(job) } else { original(job) }
        }
        return true
    }()

    private static let slot: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()

    /// This thread's.
    static var scheduler: Scheduler? {
        get { pthread_getspecific(slot).map { Unmanaged<Scheduler>.fromOpaque($0).takeUnretainedValue() } }
        set { pthread_setspecific(slot, newValue.map { Unmanaged.passUnretained($0).toOpaque() }) }
    }
}
