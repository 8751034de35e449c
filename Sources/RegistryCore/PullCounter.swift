import OCI
import Synchronization
package import Metadata

/// Counts pulls in memory, so that a pull never waits for a write; ``flush()`` writes them down. A crash loses what was
/// counted since then.
package final class PullCounter: Sendable {
    private let metadata: MetadataStore
    private let counts = Mutex<[PulledReference: Int64]>([:])

    /// How often they are written down, unless they are many.
    private static let interval = Duration.seconds(60)
    /// How often it is asked whether they are.
    private static let look = Duration.seconds(1)
    /// Most different references, some 200 bytes each, that are counted in memory. Where the database cannot take them, further
    /// ones are not counted: a pull fails for no reason of its own.
    private static let limit = 100_000
    /// References that are written down in one transaction.
    private static let step = 256

    package init(_ metadata: MetadataStore) { self.metadata = metadata }

    func count(_ pulled: PulledReference, asPulls pulls: Int64) {
        // A digest is asked for by those who push, too.
        if pulls == 0, case .digest = pulled.reference { return }
        counts.withLock { counts in
            guard counts.count < Self.limit || counts[pulled] != nil else { return }
            counts[pulled, default: 0] += pulls
        }
    }

    /// Writes down what was counted, in steps that no push waits long for. What cannot be written now is kept for the next
    /// time.
    package func flush() async throws {
        let taken = counts.withLock { counts in
            defer { counts = [:] }
            return Array(counts)
        }
        for start in stride(from: 0, to: taken.count, by: Self.step) {
            do {
                let some = taken[start..<min(start + Self.step, taken.count)]
                let step = Dictionary(uniqueKeysWithValues: some.map { ($0.key, $0.value) })
                let busy = try await metadata.addPulls(step)
                counts.withLock { counts in
                    for pulled in busy { counts[pulled, default: 0] += step[pulled] ?? 0 }
                }
            } catch {
                let rest = taken[start...].map { ($0.key, $0.value) }
                counts.withLock { $0.merge(rest, uniquingKeysWith: +) }
                throw error
            }
        }
    }

    /// Writes them down every minute, or when they are many, until its task is cancelled; the last ones are the caller's to
    /// ``flush()``.
    ///
    /// - Parameter failed: told of what could not be written yet.
    package func run(failed: @Sendable (any Error) -> Void) async {
        var (waited, hurries) = (Duration.zero, true)
        while (try? await Task.sleep(for: Self.look)) != nil {
            waited += Self.look
            let isMany = counts.withLock { $0.count } >= Self.limit / 2
            guard waited >= Self.interval || hurries && isMany else { continue }
            waited = .zero
            do {
                try await flush()
                hurries = true
            } catch {
                hurries = false
                failed(error)
            }
        }
    }
}
