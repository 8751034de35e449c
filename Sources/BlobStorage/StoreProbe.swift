import NIOCore
import OCI

/// What became of an attempt to do with a store all that a registry does with it.
package struct StoreProbe: Sendable {
    /// What went wrong first; nothing was tried after it.
    package var fault: StoreFault?
    /// Why what uploads leave behind could not be cleared away; nil if it can.
    package var leftoverFault: StoreFault?
    /// Why clients cannot read from URLs that we sign; nil if they can, or are not sent there.
    package var urlFault: String?
    /// How far the store's clock is ahead of this machine's, in seconds; nil if it does not tell.
    package var clockAhead: Int?
    /// Keys of which nothing is left in the store.
    package var gone: [StorageKey] = []
}

/// What a store would not do, and why as far as it says.
package struct StoreFault: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Reason: Hashable, Sendable {
        case unreachable
        case noBucket
        /// It does not know us, or not with this secret.
        case wrongCredentials
        /// It is another region's, which the store may name.
        case wrongRegion(String?)
        /// Our clock and the store's are too far apart for a signature.
        case clockSkew
        case notAllowed
        case full
        case other
    }

    package let reason: Reason
    /// Such as `PUT`, or `the second part`.
    package let operation: String
    /// In the store's words.
    package let detail: String

    package init(_ reason: Reason, _ operation: String, _ detail: String) {
        (self.reason, self.operation, self.detail) = (reason, operation, detail)
    }

    package var description: String { "\(operation): \(detail)" }
}

extension BlobStore {
    /// Writes a small object, reads it and deletes it.
    package func probe(_ keys: [StorageKey], readingURL: Bool) async -> StoreProbe {
        var probe = StoreProbe()
        guard let key = keys.first else { return probe }
        let bytes = ByteBuffer(string: "strata \(key)")
        do {
            try await checkHealth()
            let writer = try await makeWriter(expecting: .exactly(Int64(bytes.readableBytes))) { key }
            _ = try await writer.append([bytes], hashing: Digester(.sha256))
            _ = try await writer.finish()
            let reader = try await open(key, size: Int64(bytes.readableBytes)).reader(0..<Int64(bytes.readableBytes))
            var read = ByteBuffer()
            while let chunk = try await reader.next() { read.writeImmutableBuffer(chunk) }
            if read != bytes { probe.fault = StoreFault(.other, "read", "other bytes came back than were written") }
            try await delete(key)
            probe.gone = keys
        } catch BlobStorageError.full {
            probe.fault = StoreFault(.full, "write", "there is no room")
        } catch {
            probe.fault = StoreFault(.other, "write, read and delete", "\(error)")
        }
        return probe
    }
}
