import Metadata
import Synchronization

/// Findings that are gathered by concurrent closures.
final class FindingList: Sendable {
    private let findings = Mutex<[Finding]>([])

    func append(_ finding: Finding) { findings.withLock { $0.append(finding) } }
    var all: [Finding] { findings.withLock { $0 } }
}
