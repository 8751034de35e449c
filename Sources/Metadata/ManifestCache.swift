import OCI
import Synchronization

/// Bytes of manifests by digest. They never change, so nothing here is ever wrong; whether a repository holds a manifest
/// is asked of the database every time.
package final class ManifestCache: Sendable {
    private struct State {
        /// Two generations: what is asked for is kept, what was not asked for in the last one goes.
        var young: [Digest: [UInt8]] = [:]
        var old: [Digest: [UInt8]] = [:]
        /// Bytes of the young ones.
        var size = 0
    }

    private let limit: Int
    private let state = Mutex(State())

    /// - Parameter limit: bytes of manifests that are kept at most, about.
    package init(limit: Int) { self.limit = limit / 2 }

    /// - Parameter read: asked for what is not here, which is kept then.
    func bytes(of digest: Digest, orElse read: () throws -> [UInt8]?) rethrows -> [UInt8]? {
        if let known = bytes(of: digest) { return known }
        guard let bytes = try read() else { return nil }
        insert(bytes, for: digest)
        return bytes
    }

    private func bytes(of digest: Digest) -> [UInt8]? {
        state.withLock { state in
            if let bytes = state.young[digest] { return bytes }
            guard let bytes = state.old[digest] else { return nil }
            keep(bytes, digest, &state)
            return bytes
        }
    }

    private func insert(_ bytes: [UInt8], for digest: Digest) {
        state.withLock { state in
            guard state.young[digest] == nil else { return }
            keep(bytes, digest, &state)
        }
    }

    private func keep(_ bytes: [UInt8], _ digest: Digest, _ state: inout State) {
        guard bytes.count <= limit else { return }
        if state.size + bytes.count > limit { (state.old, state.young, state.size) = (state.young, [:], 0) }
        state.young[digest] = bytes
        state.size += bytes.count
    }
}
