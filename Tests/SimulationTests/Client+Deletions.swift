import Access
@testable import Metadata
import OCI
import RegistryCore

extension Client {
    func delete(_ tag: Tag, in repository: RepositoryName) async throws {
        let move = try witness.begin(tag, in: repository, to: [nil])
        let outcome = try await attempt("DELETE \(repository):\(tag)") { node in
            try await node.registry.deleteManifest(.tag(tag), condition: .none, with: grant(Delete.self, repository))
        }
        switch outcome {
        case .done:
            let now = scheduler.now
            if try witness.end(move, [nil]), move.before.count == 1, let digest = move.before.first ?? nil {
                witness.deleted(tag, in: repository, digest, at: now)
            }
        case .refused: try witness.end(move, move.before)
        case .unknown: try witness.end(move, nil)
        }
    }

    /// Deletes a manifest, with all tags that name it.
    func delete(_ image: Int, in repository: RepositoryName) async throws {
        let digest = content.images[image].manifest.digest
        let thing = Witness.Thing(kind: .manifest, repository: repository, digest: digest)
        let moment = witness.moment()
        try witness.beginRelease(thing)
        let moves = try world.plan.tags.map { try witness.begin($0, in: repository, to: [nil]) }
        let outcome = try await attempt("DELETE image \(image) \(repository)") { node in
            try await node.registry.deleteManifest(
                .digest(digest),
                condition: .none,
                with: grant(Delete.self, repository)
            )
        }
        for move in moves {
            switch outcome {
            case .done:
                let rest = move.before.subtracting([digest])
                try witness.end(move, rest.count < move.before.count ? rest.union([nil]) : rest)
            case .refused: try witness.end(move, move.before)
            case .unknown: try witness.end(move, nil)
            }
        }
        if case .done = outcome, !world.plan.deletesRepositories {
            try witness.keep(digest, in: repository, since: moment, for: world.plan.promises.window)
        }
        witness.endRelease(thing)
    }

    func delete(blob: Int, in repository: RepositoryName) async throws {
        let digest = content.blobs[blob].digest
        let thing = Witness.Thing(kind: .blob, repository: repository, digest: digest)
        // Mostly one that no manifest lists, or there would be nothing to delete. Somebody may be about to read it.
        if scheduler.chance.hits(700) { _ = try await upload(blob, to: repository) }
        async let reading: Void = read(blob, from: repository, isListed: false)
        try witness.beginRelease(thing)
        try await scheduler.turn(after: scheduler.chance.upTo(2000))
        _ = try await attempt("DELETE blob \(blob) \(repository)") { node in
            try await node.registry.deleteBlob(digest, with: grant(Delete.self, repository))
        }
        witness.endRelease(thing)
        try await reading
    }

    /// Puts a deleted tag back, which must work for as long as it was promised.
    func restore(_ tag: Tag, in repository: RepositoryName) async throws {
        let kept = witness.lastDeleted(tag, in: repository)
        let move = try witness.begin(tag, in: repository, to: Set(witness.ever(tag, in: repository)))
        let outcome = try await attempt("restore \(repository):\(tag)") { node in
            try await node.metadata.restore(.tag(tag), in: repository)
        }
        let mayBeLost = world.plan.deletesBlobs || world.plan.deletesRepositories
        let isInTime = kept.map { scheduler.now < $0.at + world.plan.promises.window } ?? false
        switch outcome {
        case .done:
            let wasAlone = try witness.end(move, kept.map { [$0.digest] })
            if wasAlone, move.before != [nil], !move.before.contains(nil) {
                witness.complain("a tag was put back over another one")
            }
        case .refused(let error):
            let wasAlone = try witness.end(move, move.before)
            if wasAlone, move.before == [nil], isInTime, !mayBeLost {
                witness.complain("a deleted tag could not be put back in time: \(error)")
            }
        case .unknown: try witness.end(move, nil)
        }
    }

    func restore(_ image: Int, in repository: RepositoryName) async throws {
        let digest = content.images[image].manifest.digest
        let moves = try world.plan.tags.map { try witness.begin($0, in: repository, to: [digest]) }
        let outcome = try await attempt("restore image \(image) \(repository)") { node in
            try await node.metadata.restore(.digest(digest), in: repository)
        }
        if case .refused(let error) = outcome, !world.plan.deletesBlobs, try witness.isKept(digest, in: repository) {
            witness.complain("a deleted manifest could not be put back in time: \(error)")
        }
        for move in moves {
            if case .refused = outcome {
                try witness.end(move, move.before)
            } else {
                try witness.end(move, nil)
            }
        }
    }

    func delete(_ repository: RepositoryName) async throws {
        let things =
            content.blobs.map { Witness.Thing(kind: .blob, repository: repository, digest: $0.digest) }
            + content.images.map { Witness.Thing(kind: .manifest, repository: repository, digest: $0.manifest.digest) }
        for thing in things { try witness.beginRelease(thing) }
        let moves = try world.plan.tags.map { try witness.begin($0, in: repository, to: [nil]) }
        let outcome = try await attempt("DELETE repository \(repository)") { node in
            try await node.metadata.deleteRepository(repository)
        }
        for move in moves {
            switch outcome {
            case .done: try witness.end(move, [nil])
            case .refused: try witness.end(move, move.before)
            case .unknown: try witness.end(move, nil)
            }
        }
        for thing in things { witness.endRelease(thing) }
    }

    func restore(_ repository: RepositoryName) async throws {
        let moves = try world.plan.tags.map {
            try witness.begin($0, in: repository, to: Set(witness.ever($0, in: repository)))
        }
        let outcome = try await attempt("restore repository \(repository)") { node in
            try await node.metadata.restoreRepository(repository)
        }
        for move in moves {
            if case .refused = outcome {
                try witness.end(move, move.before)
            } else {
                try witness.end(move, nil)
            }
        }
    }
}
