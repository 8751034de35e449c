import OCI
import Testing

private let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

@Suite("Digest")
struct DigestTests {
    @Test("names the empty content as FIPS 180-4 does")
    func hashesEmptyContent() {
        #expect("\(Digest(hashing: []))" == "sha256:" + emptyHash)
        #expect("\(Digest(hashing: [], with: .sha512))".hasPrefix("sha512:cf83e1357eefb8bdf1542850d66d8007d620e405"))
    }

    @Test(
        "is refused when it is not canonical",
        arguments: [
            "", ":", "sha256", "sha256:", "sha256:abc", "SHA256:" + emptyHash, "sha256:" + emptyHash.uppercased(),
            "sha256:" + emptyHash + "00", "sha512:" + emptyHash, "sha256:g" + emptyHash.dropFirst(),
            "sha256:\(emptyHash)\n",
            "+:x", "sha256::" + emptyHash,
        ]
    )
    func refuses(_ text: String) {
        #expect(throws: ParseError.digest(text)) { try Digest(parsing: text) }
    }

    @Test("of an algorithm that we do not have is told apart from nonsense", arguments: ["md5:abc", "blake3+x:A_-="])
    func unknownAlgorithm(_ text: String) {
        #expect(throws: ParseError.unsupportedAlgorithm(String(text.prefix { $0 != ":" }))) {
            try Digest(parsing: text)
        }
    }

    @Test("comes back from its stored bytes", arguments: DigestAlgorithm.allCases)
    func storage(_ algorithm: DigestAlgorithm) {
        let digest = Digest(hashing: Array("x".utf8), with: algorithm)
        #expect(Digest(storageBytes: digest.storageBytes) == digest)
        #expect(Digest(storageBytes: Array(digest.storageBytes.dropLast())) == nil)
    }

    @Test("in progress goes on from a saved state, wherever it was cut", arguments: DigestAlgorithm.allCases)
    func resumes(_ algorithm: DigestAlgorithm) throws {
        let content = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for cut in [0, 1, 63, 64, 65, 127, 128, 129, 999, 1000] {
            var digester = Digester(algorithm)
            content[..<cut].withUnsafeBytes { digester.update($0) }
            var resumed = try #require(Digester(state: digester.state))
            content[cut...].withUnsafeBytes { resumed.update($0) }
            #expect(resumed.finalize() == Digest(hashing: content, with: algorithm))
        }
    }

    @Test("state that is damaged is refused")
    func refusesState() {
        let state = Digester(.sha256).state
        #expect(Digester(state: []) == nil)
        #expect(Digester(state: Array(state.dropLast())) == nil)
        #expect(Digester(state: [9] + state.dropFirst()) == nil)
        #expect(Digester(state: state.dropLast(4) + [255, 255, 255, 255]) == nil)
    }
}

@Suite("RepositoryName")
struct RepositoryNameTests {
    @Test(
        "accepts every form of the grammar",
        arguments: [
            "a", "library/alpine", "a.b/c_d/e__f/g---h", "0", "manifests/blobs/tags",
            String(repeating: "a", count: 255),
        ]
    )
    func accepts(_ text: String) throws {
        #expect(try RepositoryName(parsing: text).text == text)
    }

    @Test(
        "refuses what the grammar does not name",
        arguments: [
            "", "A", "a/", "/a", "a//b", "a..b", "a___b", "-a", "a.-b", "a_-b", "a/-b", "ä", "a b", "a\n",
            String(repeating: "a", count: 256),
        ]
    )
    func refuses(_ text: String) {
        #expect(throws: ParseError.repositoryName(text)) { try RepositoryName(parsing: text) }
    }
}

@Suite("Tag")
struct TagTests {
    @Test(
        "is about a manifest if it is made of a digest, whatever follows a dot",
        arguments: ["", ".sig", ".att", ".a.b"]
    )
    func subject(_ ending: String) throws {
        let digest = Digest(hashing: [])
        let name = "\(digest)".replacing(":", with: "-")
        #expect(try Tag(parsing: name + ending).subject == digest)
        for other in ["v1\(ending)", "a-b\(ending)", "sha256-ab\(ending)", name + "-x", "x-" + name] {
            #expect(try Tag(parsing: other).subject == nil)
        }
    }

    @Test(
        "accepts up to 128 characters",
        arguments: ["a", "_", "v1.0-rc_1", "UPPER", String(repeating: "x", count: 128)]
    )
    func accepts(_ text: String) throws {
        #expect(try Tag(parsing: text).text == text)
    }

    @Test(
        "refuses the rest",
        arguments: ["", ".a", "-a", "a/b", "a:b", "a b", "é", String(repeating: "x", count: 129)]
    )
    func refuses(_ text: String) {
        #expect(throws: ParseError.tag(text)) { try Tag(parsing: text) }
    }
}
