import Synchronization
import Testing

@testable import BlobStorage

@Suite("The URL of a download")
struct DownloadURLsTests {
    /// Numbers what it signs, so that two signatures of one object differ.
    private final class Numbers: ObjectURLSigner {
        private let count = Mutex(0)

        var signed: Int { count.withLock { $0 } }

        func signedURL(of key: StorageKey, lifetime: Int) async throws -> String {
            let number = count.withLock { count in
                count += 1
                return count
            }
            return "\(key) \(lifetime) \(number)"
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
