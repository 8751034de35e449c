package import OCI
package import SQLStore

extension Digest: SQLBindable {
    package static var sqlKind: SQLKind { .bytes }
    package var sqlValue: SQLValue { .bytes(storageBytes) }
}

extension RepositoryName: SQLBindable {
    package static var sqlKind: SQLKind { .text }
    package var sqlValue: SQLValue { .text(text) }
}

extension Tag: SQLBindable {
    package static var sqlKind: SQLKind { .text }
    package var sqlValue: SQLValue { .text(text) }
}

extension SQLRow {
    /// The digest in a column. The schema lets nothing else in, so other bytes there trap.
    func digest(_ column: Int) -> Digest {
        guard let digest = Digest(storageBytes: bytes(column)) else {
            preconditionFailure("column \(column) is no digest")
        }
        return digest
    }
}
