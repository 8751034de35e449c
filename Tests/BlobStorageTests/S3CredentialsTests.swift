import FoundationEssentials
import Testing

@testable import BlobStorage

@Suite("The end of credentials that are lent")
struct S3CredentialsTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)

    @Test(
        "is what their giver says, with or without fractions of a second",
        arguments: ["2027-01-15T09:00:00Z", "2027-01-15T09:00:00.000Z"]
    )
    func isSaid(_ text: String) {
        #expect(S3CredentialSource.end(text, at: now) == Date(timeIntervalSince1970: 1_800_003_600))
    }

    @Test("is near where it is not said, or not so that we can read it", arguments: [nil, "", "soon", "1800003600"])
    func isNear(_ text: String?) {
        let left = S3CredentialSource.end(text, at: now).timeIntervalSince(now)
        #expect((60...900).contains(left))
    }
}
