import FoundationEssentials
import Logging
import Synchronization
import Testing

@testable import BlobStorage

@Suite("The URL of a download")
struct DownloadURLsTests {
    /// Numbers what it signs, so that two signatures of one object differ.
    private final class Numbers: ObjectURLSigner {
        private let count = Mutex(0)
        /// Seconds for which what it signs with is still good.
        private let left: TimeInterval
        private let generation = Mutex(0)

        var keyGeneration: Int { generation.withLock { $0 } }
        func changeKeys() { generation.withLock { $0 += 1 } }

        init(left: TimeInterval = .infinity) { self.left = left }

        var signed: Int { count.withLock { $0 } }

        func signedURL(of key: StorageKey, lifetime: Int) async throws -> SignedURL {
            let number = count.withLock { count in
                count += 1
                return count
            }
            let life = min(TimeInterval(lifetime), left)
            return SignedURL("\(key) \(lifetime) \(number)", expiresAt: Date().addingTimeInterval(life))
        }
    }

    @Test("is signed once for all who ask within a while, for each object")
    func isReused() async throws {
        let signer = Numbers()
        let urls = DownloadURLs(signer, lifetime: .seconds(1200))
        let keys = [StorageKey.random(), .random()]
        for _ in 0..<3 {
            #expect(try await urls.url(of: keys[0]) == "\(keys[0]) 1200 1")
            #expect(try await urls.url(of: keys[1]) == "\(keys[1]) 1200 2")
        }
    }

    @Test("is signed anew when a quarter of its life is over")
    func isRenewed() async throws {
        let signer = Numbers()
        let urls = DownloadURLs(signer, lifetime: .zero)
        let key = StorageKey.random()
        for number in 1...3 { #expect(try await urls.url(of: key) == "\(key) 0 \(number)") }
    }

    @Test("is signed anew when a quarter of what its signer has left is over", arguments: [-1.0, 0.0])
    func isRenewedBeforeItsSignerEnds(_ left: TimeInterval) async throws {
        let signer = Numbers(left: left)
        let urls = DownloadURLs(signer, lifetime: .seconds(1200))
        let key = StorageKey.random()
        for number in 1...3 { #expect(try await urls.url(of: key) == "\(key) 1200 \(number)") }
    }

    @Test("is signed anew when what signed it is not good any more")
    func isRenewedWithItsSigner() async throws {
        let signer = Numbers()
        let urls = DownloadURLs(signer, lifetime: .seconds(1200))
        let key = StorageKey.random()
        for number in 1...3 {
            for _ in 1...2 { #expect(try await urls.url(of: key) == "\(key) 1200 \(number)") }
            signer.changeKeys()
        }
    }

    @Test("is signed once while its signer has some time left")
    func isReusedWhileItsSignerLives() async throws {
        let signer = Numbers(left: 600)
        let urls = DownloadURLs(signer, lifetime: .seconds(1200))
        let key = StorageKey.random()
        for _ in 1...3 { #expect(try await urls.url(of: key) == "\(key) 1200 1") }
    }

    @Test("is good for no longer than the credentials that signed it")
    func endsWithCredentials() async throws {
        for left in [600, 3600, nil] as [TimeInterval?] {
            let start = Date()
            let expiry = left.map { start.addingTimeInterval($0) }
            let keys = S3Credentials(accessKeyID: "a", secretAccessKey: "b", expiresAt: expiry)
            let place = S3Configuration(scheme: "http", host: "store", region: "r", bucket: "b")
            let store = S3BlobStore(S3Client(place, .fixed(keys), logger: Logger(label: "test")))
            let url = try await store.signedURL(of: .random(), lifetime: 1200)
            try await store.close()
            // It counts in whole seconds.
            let (first, last) = (start.addingTimeInterval(1200 - 2), Date().addingTimeInterval(1200))
            if left == 600 {
                #expect(abs(url.expiresAt.timeIntervalSince(expiry ?? .distantPast)) < 2)
            } else {
                #expect(url.expiresAt >= first && url.expiresAt <= last)
            }
        }
    }

    @Test("is forgotten when many others were asked for: memory has a bound")
    func isForgotten() async throws {
        let signer = Numbers()
        let urls = DownloadURLs(signer, lifetime: .seconds(1200))
        let key = StorageKey.random()
        _ = try await urls.url(of: key)
        for _ in 0..<3 * 8192 { _ = try await urls.url(of: .random()) }
        let before = signer.signed
        _ = try await urls.url(of: key)
        #expect(signer.signed == before + 1)
    }
}
