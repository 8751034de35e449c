import Testing

@testable import OCI

@Suite("What an image runs on")
struct PlatformsTests {
    @Test(
        "is told by its configuration, for Windows with the build",
        arguments: [
            (#"{"os":"linux","architecture":"arm","variant":"v7"}"#, "linux/arm/v7"),
            (#"{"os":"linux","architecture":"amd64","os.version":"6.1"}"#, "linux/amd64"),
            (#"{"os":"windows","architecture":"amd64","os.version":"10.0.20348.2700"}"#, "windows/amd64/10.0.20348"),
            (#"{"os":"windows","architecture":"amd64"}"#, "windows/amd64"),
            (#"{"os":"unknown","architecture":"unknown"}"#, nil),
        ]
    )
    func configurations(_ text: String, _ platform: String?) {
        #expect(Platforms.platform(ofConfiguration: Array(text.utf8)) == platform)
    }

    @Test("is told by an index of all that it lists")
    func indexes() {
        func descriptor(_ build: String) -> String {
            #"{"platform":{"os":"windows","architecture":"amd64","os.version":"\#(build)"}}"#
        }
        let builds = ["10.0.20348.1", "10.0.17763.6293", "10.0.20348.2700"].map(descriptor).joined(separator: ",")
        let index = Platforms(ofManifest: Array(#"{"manifests":[\#(builds),{}]}"#.utf8))
        #expect(index == .listed(["windows/amd64/10.0.17763", "windows/amd64/10.0.20348"]))
    }
}
