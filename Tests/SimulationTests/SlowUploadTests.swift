import Access
import Housekeeping
import NIOCore
import OCI
import RegistryCore
import SQLStore
import Testing

@Suite("An upload that takes longer than its key is kept")
struct SlowUploadTests {
    private static let hour: Int64 = 3_600_000
    private static let wait = 30 * hour

    private func world(_ kind: SimulatedObjects.Kind, _ sql: SimulatedSQLite) throws -> World {
        var plan = Plan(seed: 1)
        (plan.kind, plan.faults, plan.skew, plan.keepsForeignKeys) = (kind, 0, [0, 0], true)
        return try World(plan, sql: sql)
    }

    /// The request whose body is slow.
    enum Request: CaseIterable {
        case whole, patch, patchThatBreaksOff, put
    }

    /// When a store over a network writes. Files are written all along.
    enum Writing: CaseIterable {
        /// All at the end of the request.
        case atTheEnd
        /// In parts, the first of them after the wait.
        case lateParts
        /// In parts, the first of them before the wait.
        case parts
        /// In parts, after the process has stood still between taking a key and writing under it. Its client does not wait.
        case afterStandingStill

        var partSize: Int {
            switch self {
            case .atTheEnd: 1 << 20
            case .lateParts, .afterStandingStill: 25_000
            case .parts: 16_500
            }
        }
    }

    @Test(
        "is refused, and leaves no object",
        arguments: [SimulatedObjects.Kind.files, .network].flatMap { kind in
            Request.allCases.flatMap { request in Writing.allCases.map { (kind, request, $0) } }
        }
    )
    func isRefused(_ kind: SimulatedObjects.Kind, _ request: Request, _ writing: Writing) async throws {
        try await Simulation.onThread {
            let world = try world(kind, try SimulatedSQLite())
            world.objects.partSize = writing.partSize
            if writing == .afterStandingStill {
                world.objects.standstills = ["create": Self.wait, "start upload": Self.wait, "put": Self.wait]
            }
            try world.run { world in
                let blob = try Content().blobs[3]
                let grant = try await Authorizer().grant(Push.self, on: Content.repositories[0], to: .anonymous)
                let registry = world.nodes[0].registry
                let id = registry.startUpload(algorithm: .sha256, with: grant).description
                var bytes = blob.bytes[...]
                if request == .put {
                    let first = UploadChunk(range: nil, length: nil, body: Self.once(Array(bytes.prefix(500))))
                    _ = try await registry.appendUpload(id, first, with: grant)
                    bytes = bytes.dropFirst(500)
                }
                let wait = writing == .afterStandingStill ? 0 : Self.wait
                let chunk = Self.slowly(Array(bytes), world, wait, breaksOff: request == .patchThatBreaksOff)
                let collecting = Task {
                    for _ in 0..<3 * 31 {
                        try await world.scheduler.turn(after: Self.hour)
                        _ = try await world.nodes[1].collector.run()
                    }
                }
                do {
                    switch request {
                    case .whole: try await registry.pushBlob(blob.digest, chunk, with: grant)
                    case .patch, .patchThatBreaksOff: _ = try await registry.appendUpload(id, chunk, with: grant)
                    case .put: try await registry.finishUpload(id, as: blob.digest, chunk, with: grant)
                    }
                    world.witness.complain("it was not refused")
                } catch let error as RegistryError {
                    world.log("refused: \(error)")
                }
                try await collecting.value
                try await world.settle()
            }
        }
    }

    private struct ClientIsGone: Error {}

    /// The first half at once, the second one after the wait. In batches as large as those that are written.
    private static func slowly(_ bytes: [UInt8], _ world: World, _ wait: Int64, breaksOff: Bool) -> UploadChunk {
        var sent = 0
        return UploadChunk(range: nil, length: Int64(bytes.count)) {
            guard sent < 2 else {
                if breaksOff { throw ClientIsGone() }
                return nil
            }
            if sent == 1 { try await world.scheduler.turn(after: wait) }
            defer { sent += 1 }
            let half = bytes.count / 2
            return ByteBuffer(bytes: sent == 0 ? bytes[..<half] : bytes[half...])
        }
    }

    @Test("is ended by the collector, which comes again for what a late request makes")
    func lateRequest() async throws {
        try await Simulation.onThread {
            let world = try world(.network, try SimulatedSQLite())
            try world.run { world in
                let blob = try Content().blobs[0]
                let registry = world.nodes[0].registry
                let grant = try await Authorizer().grant(Push.self, on: Content.repositories[0], to: .anonymous)
                let id = registry.startUpload(algorithm: .sha256, with: grant).description
                let chunk = UploadChunk(range: nil, length: nil, body: Self.once(blob.bytes))
                _ = try await registry.appendUpload(id, chunk, with: grant)
                guard let (key, bytes) = world.objects.objects.first else {
                    return world.witness.complain("nothing was stored")
                }
                try await world.scheduler.turn(after: 24 * Self.hour + 1000)
                _ = try await world.nodes[1].collector.run()
                if !world.objects.objects.isEmpty { world.witness.complain("the upload was not ended") }
                try world.objects.put(bytes, to: key)
                try await world.settle()
            }
        }
    }

    private static func once(_ bytes: [UInt8]) -> BodyReader {
        var rest: ByteBuffer? = ByteBuffer(bytes: bytes)
        return {
            defer { rest = nil }
            return rest
        }
    }
}
