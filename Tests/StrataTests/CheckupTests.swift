import Testing

@testable import BlobStorage
@testable import Housekeeping

@Suite("What a store's refusal means")
struct StoreFaultTests {
    private func fault(_ status: Int, _ code: String, _ rest: String = "", region: String? = nil) -> StoreFault {
        let body = "<Error><Code>\(code)</Code><Message>No.</Message>\(rest)</Error>"
        return StoreFault(status: status, body: body, region: region, "PUT")
    }

    @Test("is told by its code")
    func code() {
        #expect(fault(404, "NoSuchBucket").reason == .noBucket)
        #expect(fault(403, "SignatureDoesNotMatch").reason == .wrongCredentials)
        #expect(fault(403, "InvalidAccessKeyId").reason == .wrongCredentials)
        #expect(fault(400, "ExpiredToken").reason == .wrongCredentials)
        #expect(fault(403, "RequestTimeTooSkewed").reason == .clockSkew)
        #expect(fault(403, "AccessDenied").reason == .notAllowed)
        #expect(fault(403, "QuotaExceeded").reason == .full)
        #expect(fault(400, "InvalidRequest").reason == .other)
        #expect(fault(403, "AccessDenied").description == "PUT: 403 AccessDenied No.")
    }

    @Test("names the region where the bucket is, in the answer's body or its header")
    func region() {
        let malformed = fault(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>")
        #expect(malformed.reason == .wrongRegion("eu-central-1"))
        #expect(fault(301, "PermanentRedirect", region: "us-west-2").reason == .wrongRegion("us-west-2"))
        #expect(fault(301, "PermanentRedirect").reason == .wrongRegion(nil))
    }

    @Test("is the operation's where it says nothing")
    func empty() {
        let silent = StoreFault(status: 403, body: "", region: nil, "DELETE")
        #expect((silent.reason, silent.description) == (.notAllowed, "DELETE: 403"))
    }

    @Test("comes with the store's time")
    func time() {
        #expect(S3BlobStore.seconds("Thu, 01 Jan 1970 00:00:10 GMT") == 10)
        #expect(S3BlobStore.seconds("Sun, 29 Feb 2032 23:59:59 GMT") == 1_961_711_999)
        for text in ["", "10", "Thu, 01 Foo 1970 00:00:10 GMT", "Thu, 01 Jan 1970 00:00:10 CET"] {
            #expect(S3BlobStore.seconds(text) == nil)
        }
    }
}

@Suite("The file system of a folder")
struct FolderCheckupTests {
    private let mounts = """
        overlay / overlay rw,relatime 0 0
        tmpfs /srv tmpfs rw 0 0
        server:/images /srv/images nfs4 rw,vers=4.2 0 0
        //server/share /mnt/my\\040share cifs rw 0 0
        /dev/sdb1 /srv/images/local ext4 rw 0 0
        """

    @Test("is that of the deepest mount above it")
    func kind() {
        #expect(FolderCheckup.kind(of: "/var/lib/strata", mounts) == "overlay")
        #expect(FolderCheckup.kind(of: "/srv/imagesx", mounts) == "tmpfs")
        #expect(FolderCheckup.kind(of: "/srv/images", mounts) == "nfs4")
        #expect(FolderCheckup.kind(of: "/srv/images/a/b", mounts) == "nfs4")
        #expect(FolderCheckup.kind(of: "/srv/images/local/a", mounts) == "ext4")
        #expect(FolderCheckup.kind(of: "/mnt/my share/a", mounts) == "cifs")
    }
}
