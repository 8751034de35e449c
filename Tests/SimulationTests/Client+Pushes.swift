import Access
@testable import Metadata
import NIOCore
import OCI
import RegistryCore

extension Client {
    /// - Returns: whether it is there.
    func push(_ image: Int, to repository: RepositoryName, as tag: Tag?) async throws -> Bool {
        let what = content.images[image]
        for child in what.children {
            if scheduler.chance.hits(600), try await head(child, in: repository) { continue }
            guard try await push(child, to: repository, as: nil) else { return false }
        }
        for blob in Set(what.blobs).sorted() where try await !ensure(blob, in: repository) { return false }
        if scheduler.chance.hits(100) { try await scheduler.turn(after: scheduler.chance.upTo(7 * 3_600_000)) }
        for _ in 0..<2 {
            let moment = witness.moment()
            let move = try tag.map { try witness.begin($0, in: repository, to: [what.manifest.digest]) }
            let outcome = try await attempt("PUT image \(image) \(repository):\(tag?.text ?? "-")") { node in
                try await node.registry.putManifest(
                    ManifestUpload(
                        bytes: what.manifest.bytes,
                        mediaType: what.manifest.mediaType,
                        reference: tag.map { .tag($0) } ?? .digest(what.manifest.digest),
                        tags: [],
                        condition: .none
                    ),
                    with: grant(Push.self, repository)
                )
            }
            switch outcome {
            case .done:
                if let move { try witness.end(move, [what.manifest.digest]) }
                try promise(image: image, in: repository, since: moment)
                for child in what.children { try promise(image: child, in: repository, since: moment) }
                return true
            case .refused:
                if let move { try witness.end(move, move.before) }
                return false
            case .unknown:
                if let move { try witness.end(move, nil) }
            }
        }
        return false
    }

    /// Makes a repository hold a blob, the cheapest way first.
    private func ensure(_ blob: Int, in repository: RepositoryName) async throws -> Bool {
        if scheduler.chance.hits(700), try await headBlob(blob, in: repository) { return true }
        if scheduler.chance.hits(300), try await mount(blob, to: repository) { return true }
        for _ in 0..<2 where try await upload(blob, to: repository) { return true }
        return false
    }

    private func mount(_ blob: Int, to repository: RepositoryName) async throws -> Bool {
        let moment = witness.moment()
        let outcome = try await attempt("mount blob \(blob)") { node in
            let source = Content.repositories.first { $0 != repository }
            let proof = scheduler.chance.hits(700) ? try await source.asyncMap { try await grant(Pull.self, $0) } : nil
            return try await node.registry.mount(
                content.blobs[blob].digest,
                from: proof,
                with: grant(Push.self, repository)
            )
        }
        guard case .done(true) = outcome else { return false }
        try promise(blob: blob, in: repository, since: moment)
        return true
    }

    func upload(_ blob: Int, to repository: RepositoryName) async throws -> Bool {
        let isWhole = scheduler.chance.hits(600)
        let moment = witness.moment()
        guard try await isWhole ? sendWhole(blob, to: repository) : sendInParts(blob, to: repository) else {
            return false
        }
        // A client was told so when the upload ended; it is counted from its beginning, or a window before its end.
        let isSlow = scheduler.now - moment.now > 3_600_000
        if !isSlow { try promise(blob: blob, in: repository, since: moment) }
        return true
    }

    private func sendWhole(_ blob: Int, to repository: RepositoryName) async throws -> Bool {
        let what = content.blobs[blob]
        let outcome = try await attempt("POST blob \(blob) \(repository)") { node in
            try await node.registry.pushBlob(what.digest, chunk(what.bytes[...]), with: grant(Push.self, repository))
        }
        if case .done = outcome { return true }
        return false
    }

    private func sendInParts(_ blob: Int, to repository: RepositoryName) async throws -> Bool {
        let what = content.blobs[blob]
        let grant = try await grant(Push.self, repository)
        let id = scheduler.chance.pick(world.nodes).registry.startUpload(algorithm: .sha256, with: grant).description
        var offset = 0
        for _ in 0..<5 {
            if scheduler.chance.hits(30) { return false }  // given up
            if scheduler.chance.hits(30) {
                _ = try await attempt("DELETE upload") { try await $0.registry.cancelUpload(id, with: grant) }
                return false
            }
            let end = min(what.bytes.count, offset + 500 * (10 + scheduler.chance.index(50)))
            let isLast = end == what.bytes.count
            let outcome = try await attempt("\(isLast ? "PUT" : "PATCH") blob \(blob) from \(offset)") { node in
                let chunk = chunk(what.bytes[offset..<end], from: offset)
                guard isLast else { return try await node.registry.appendUpload(id, chunk, with: grant) }
                try await node.registry.finishUpload(id, as: what.digest, chunk, with: grant)
                return Int64(end)
            }
            switch outcome {
            case .done where isLast: return true
            case .done(let received): offset = Int(received)
            case .refused(let error) where error.code == .blobUploadUnknown: return false
            case .refused(let error) where error.code == .digestInvalid:
                witness.complain("an upload does not have the bytes that were sent")
                return false
            case .refused, .unknown:
                let status = try await attempt("GET upload") { try await $0.registry.uploadStatus(id, with: grant) }
                if case .done(let received) = status { offset = min(Int(received), what.bytes.count) }
            }
        }
        return false
    }

    private struct ClientIsGone: Error {}

    /// Mostly at once, sometimes slowly, rarely for longer than keys are kept, rarely not to the end.
    private func chunk(_ bytes: ArraySlice<UInt8>, from offset: Int? = nil) -> UploadChunk {
        let hour: Int64 = 3_600_000
        let delays: [Int64] = scheduler.chance.hits(15) ? [15 * hour, 11 * hour] : [0, scheduler.chance.upTo(4)]
        let isSlow = scheduler.chance.hits(50)
        let breaksOff = scheduler.chance.hits(30)
        var rest = bytes
        var pieces = 0
        let scheduler = scheduler
        let range = offset.flatMap { bytes.isEmpty ? nil : Int64($0)...Int64($0 + bytes.count - 1) }
        return UploadChunk(range: range, length: Int64(bytes.count)) {
            if pieces > 0, breaksOff { throw ClientIsGone() }
            if pieces > 0 { try await scheduler.turn(after: isSlow ? 600_000 : delays[pieces % 2]) }
            guard !rest.isEmpty else { return nil }
            pieces += 1
            let piece = rest.prefix(rest.count / 2 + 250)
            rest = rest.dropFirst(piece.count)
            return ByteBuffer(bytes: piece)
        }
    }
}

extension Optional {
    fileprivate func asyncMap<Result>(_ body: (Wrapped) async throws -> Result) async throws -> Result? {
        guard let self else { return nil }
        return try await body(self)
    }
}
