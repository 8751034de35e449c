import Synchronization

/// How far an import is, and what it did.
package struct ImportCounts: Hashable, Sendable, Encodable {
    package internal(set) var repositories = 0
    package internal(set) var repositoriesFound = 0
    /// Tags that were looked at, whatever came of it.
    package internal(set) var tags = 0
    package internal(set) var tagsFound = 0
    /// Tags that were made or moved.
    package internal(set) var tagsImported = 0
    /// Tags that named the right manifest already.
    package internal(set) var tagsUnchanged = 0
    /// Tags that name something else here, and were told to be left so.
    package internal(set) var tagsKept = 0
    package internal(set) var manifestsCopied = 0
    package internal(set) var manifestsPresent = 0
    package internal(set) var blobsCopied = 0
    package internal(set) var blobsMounted = 0
    package internal(set) var blobsPresent = 0
    /// Of those copied, the ones that need not be here by their type or because they have addresses of their own.
    package internal(set) var externalBlobsCopied = 0
    /// Such blobs that the source does not hold either.
    package internal(set) var blobsElsewhere = 0
    /// Bytes of blobs that came from the source.
    package internal(set) var bytesCopied: Int64 = 0
}

/// Something of the source that is not here now, and why.
package struct ImportGap: Hashable, Sendable, Encodable, CustomStringConvertible {
    package let repository: String
    /// A tag or a digest; nil for the repository as a whole.
    package let reference: String?
    package let reason: String

    /// What the source said of these is kept as far as it can be shown.
    init(repository: String, reference: String?, reason: String) {
        (self.repository, self.reference) = (repository.printable, reference?.printable)
        self.reason = reason.printable
    }

    package var description: String {
        let subject = [repository, reference ?? ""].filter { !$0.isEmpty }
            .joined(separator: reference?.contains(":") == true ? "@" : ":")
        return subject.isEmpty ? reason : "\(subject): \(reason)"
    }
}

package struct ImportReport: Sendable, Encodable {
    package internal(set) var counts = ImportCounts()
    /// What could not be imported, the first ``maximumGaps`` of them.
    package internal(set) var failures: [ImportGap] = []
    package internal(set) var failureCount = 0
    /// What the source lists but does not hold, the first ``maximumGaps`` of them.
    package internal(set) var missing: [ImportGap] = []
    package internal(set) var missingCount = 0

    /// Most gaps of a kind that are told one by one; all are counted.
    static let maximumGaps = 1000
}

/// The report in the making, written by all workers.
final class ImportTally: Sendable {
    private let state = Mutex(ImportReport())
    private let onChange: @Sendable (ImportCounts) -> Void

    init(onChange: @escaping @Sendable (ImportCounts) -> Void) { self.onChange = onChange }

    var report: ImportReport { state.withLock { $0 } }

    func count(_ change: @Sendable (inout ImportCounts) -> Void) {
        let counts = state.withLock { report in
            change(&report.counts)
            return report.counts
        }
        onChange(counts)
    }

    func failed(_ gap: ImportGap) {
        state.withLock { report in
            report.failureCount += 1
            if report.failures.count < ImportReport.maximumGaps { report.failures.append(gap) }
        }
    }

    func missing(_ gap: ImportGap) {
        state.withLock { report in
            report.missingCount += 1
            if report.missing.count < ImportReport.maximumGaps { report.missing.append(gap) }
        }
    }
}
