import Metadata
import OCI
import SQLStore
import Testing

@Suite("Upload sessions")
struct UploadSessionTests {
    private let repository: RepositoryName
    private let id: [UInt8] = Array(repeating: 5, count: 37)
    private let key: [UInt8] = Array(repeating: 1, count: 16)

    init() throws { repository = try RepositoryName(parsing: "team/app") }

    private func record(_ received: Int64, at location: BlobLocation = .inline([])) -> UploadRecord {
        UploadRecord(id: id, repository: repository, received: received, hashState: [1], location: location)
    }

    private func whole(_ session: [UInt8], _ text: String) -> FinishedUpload {
        let bytes = Array(text.utf8)
        return FinishedUpload(
            Digest(hashing: bytes),
            size: Int64(bytes.count),
            at: .inline(bytes),
            session: session,
            isWhole: true,
            in: repository
        )
    }

    private func refuses(_ code: RegistryError.Code, _ body: () async throws -> Void) async {
        let error = await #expect(throws: RegistryError.self) { try await body() }
        #expect(error?.code == code)
    }

    @Test(
        "go on only from where they stood: of two requests that know the same, one is refused",
        arguments: Engine.available
    )
    func staleSave(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            try await store.save(record(10), after: nil)
            await refuses(.uploadBusy) { try await store.save(record(20), after: nil) }
            try await store.save(record(30), after: 10)
            await refuses(.uploadBusy) { try await store.save(record(20), after: 10) }
            await refuses(.uploadBusy) { try await store.resetUpload(id, from: 10) }
            #expect(try await store.upload(id, in: repository)?.received == 30)
            try await store.resetUpload(id, from: 30)
            #expect(try await store.upload(id, in: repository) == nil)
        }
    }

    @Test("that were ended stay so, whether or not anything was received", arguments: Engine.available, [nil, 10])
    func ended(_ engine: Engine, _ received: Int64?) async throws {
        try await engine.withStore { store, _ in
            if let received { try await store.save(record(received), after: nil) }
            await refuses(.uploadBusy) {
                if received == nil { try await store.save(record(7), after: nil) }
                try await store.endUpload(id, in: repository, from: [5])
            }
            try await store.endUpload(id, in: repository, from: received.map { [5, $0] })
            await refuses(.blobUploadUnknown) { _ = try await store.upload(id, in: repository) }
            await refuses(.uploadBusy) { try await store.save(record(20), after: received) }
            #expect(try await store.violations() == [])
        }
    }

    @Test("give up only keys that nobody has published, and then nobody does", arguments: Engine.available)
    func claims(_ engine: Engine) async throws {
        try await engine.withStore { store, _ in
            let digest = Digest(hashing: Array("layer".utf8))
            let other = Digest(hashing: Array("other".utf8))
            let second: [UInt8] = Array(repeating: 2, count: 16)
            try await store.registerKeys([key, second])
            try await store.save(record(5, at: .object(key)), after: nil)
            #expect(try await store.commit(digest, size: 5, at: .object(key), in: repository))
            #expect(try await store.claim([key, second]) == [second])
            await refuses(.blobUploadUnknown) {
                _ = try await store.commit(other, size: 5, at: .object(second), in: repository)
            }
            await refuses(.blobUploadUnknown) { try await store.save(record(6, at: .object(second)), after: 5) }
            try await store.forget([key, second])
            #expect(try await !store.knows(key: second))
            // An object may have been written under it since.
            #expect(try await store.claim([key, second]) == [second])
            #expect(try await store.knows(key: second))
            #expect(try await store.claim([second]) == [second], "it may be so again while a deleter is at it")
            await refuses(.blobUploadUnknown) {
                _ = try await store.commit(other, size: 5, at: .object(second), in: repository)
            }
            #expect(try await store.blob(digest, in: repository, promising: false).location == .object(key))
        }
    }

    @Test("are found if the trash does not know a key of theirs", arguments: Engine.available)
    func audited(_ engine: Engine) async throws {
        try await engine.withStore { store, database in
            let tail: [UInt8] = Array(repeating: 2, count: 16)
            try await store.registerKeys([key, tail])
            let upload = UploadRecord(
                id: id,
                repository: repository,
                received: 5,
                hashState: [1],
                location: .object(key),
                tail: tail
            )
            try await store.save(upload, after: nil)
            #expect(try await store.violations() == [])
            for lost in [tail, key] {
                try await database.write { try $0.run("DELETE FROM object_trash WHERE skey = \(lost)") }
            }
            #expect(try await store.violations().map(\.kind) == ["session-without-key", "session-without-key"])
        }
    }

    @Test(
        "that have begun or were ended cannot be said to bring a whole blob; others in the transaction are not affected",
        arguments: Engine.available,
        [nil, 10]
    )
    func begun(_ engine: Engine, _ received: Int64?) async throws {
        try await engine.withStore { store, _ in
            if let received {
                try await store.save(record(received), after: nil)
            } else {
                try await store.endUpload(id, in: repository, from: nil)
            }
            let fresh: [UInt8] = Array(repeating: 6, count: 37)
            async let other = store.commit(whole(fresh, "other"))
            await #expect(throws: UploadHasBegun.self) { _ = try await store.commit(whole(id, "layer")) }
            #expect(try await other)
            await refuses(.blobUnknown) {
                _ = try await store.blob(Digest(hashing: Array("layer".utf8)), in: repository, promising: false)
            }
            if let received { #expect(try await store.upload(id, in: repository)?.received == received) }
        }
    }
}
