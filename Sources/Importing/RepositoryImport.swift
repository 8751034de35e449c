import Access
import OCI
import Synchronization

/// One repository on its way: its name at the source, the rights to its content here, and what is done already.
final class RepositoryImport: Sendable {
    private struct State {
        var complete: Set<Digest> = []
        var subjects: Set<Digest> = []
        /// Whether the source gave a list of referrers, of any manifest.
        var hasReferrers = false
        /// Manifests for which it seemed to know no such request, or which it was not asked about because of that.
        var withoutList: Set<Digest> = []
    }

    let source: RepositoryName
    let pull: Grant<Pull>
    let push: Grant<Push>
    let inFlight = InFlight<Digest>()
    private let state = Mutex(State())

    init(source: RepositoryName, pull: Grant<Pull>, push: Grant<Push>) {
        (self.source, self.pull, self.push) = (source, pull, push)
    }

    /// Whether a manifest is here, with all that it lists, since this run looked.
    func isComplete(_ digest: Digest) -> Bool { state.withLock { $0.complete.contains(digest) } }
    func complete(_ digest: Digest) { state.withLock { _ = $0.complete.insert(digest) } }

    /// Whether a tag is by its name about a manifest that is here, as signatures are.
    func isAboutComplete(_ tag: String) -> Bool { (try? Tag(parsing: tag))?.subject.map(isComplete) ?? false }

    /// Whether the referrers of a manifest are still to be asked for; only the first who asks is told so.
    func beginReferrers(of subject: Digest) -> Bool {
        state.withLock { state in
            guard state.subjects.insert(subject).inserted else { return false }
            guard state.hasReferrers || state.withoutList.isEmpty else {
                state.withoutList.insert(subject)
                return false
            }
            return true
        }
    }

    /// The source gave a list of referrers.
    func hasReferrers() { state.withLock { $0.hasReferrers = true } }

    /// The source seems to have no referrers API: unless it gives a list of others, it need not be asked again.
    func hasNoList(of subject: Digest) { state.withLock { _ = $0.withoutList.insert(subject) } }

    /// Manifests to be asked about again: those without a list at a source that gave lists of others.
    func takeSubjectsWithoutList() -> Set<Digest> {
        state.withLock { state in
            guard state.hasReferrers else { return [] }
            defer { state.withoutList = [] }
            return state.withoutList
        }
    }
}
