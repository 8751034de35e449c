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

    private func world(_ kind: SimulatedObjects.Kind, _ sql: SimulatedSQLite) throws -> World {
        var plan = Plan(seed: 1)
        (plan.kind, plan.faults, plan.skew, plan.keepsForeignKeys) = (kind, 0, [0, 0], true)
        return try World(plan, sql: sql)
    }

    @Test("is refused, and leaves no object", arguments: [SimulatedObjects.Kind.files, .network])
    func isRefused(_ kind: SimulatedObjects.Kind) async throws {
        try await Simulation.onThread {
            let world = try world(kind, try SimulatedSQLite())
            // A store that writes all at once when all is there: only its end can be too late.
            world.objects.partSize = 1 << 20
            try world.run { world in
                let blob = try Content().blobs[3]
                let collecting = Task {
                    for _ in 0..<29 {
                        try await world.scheduler.turn(after: Self.hour)
                        _ = try await world.nodes[1].collector.run()
                    }
                }
                let outcome = try await Client(world: world, content: Content()).attempt("POST") { node in
                    let grant = try await Authorizer().grant(
                        Push.self,
                        on: Content.repositories[0],
                        to: .anonymous
                    )
                    try await node.registry.pushBlob(blob.digest, Self.slowly(blob.bytes, world), with: grant)
                }
                guard case .refused(let error) = outcome, error.code == .blobUploadUnknown else {
                    return world.witness.complain("it was not refused: \(outcome)")
                }
                try await collecting.value
                try await world.settle()
                if world.sees("SELECT 1 FROM witness.object") { world.witness.complain("an object is left") }
            }
        }
    }

    /// The first half at once, the second one after thirty hours. In batches as large as those that are written.
    private static func slowly(_ bytes: [UInt8], _ world: World) -> UploadChunk {
        var sent = 0
        return UploadChunk(range: nil, length: Int64(bytes.count)) {
            guard sent < 2 else { return nil }
            if sent == 1 { try await world.scheduler.turn(after: 30 * hour) }
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
