import BlobStorage
import HTTPSyntax
import NIOCore
import NIOHTTP1

/// Turns a request into an answer; never fails.
package protocol Responder: Sendable {
    func respond(to request: HTTPRequest) async -> HTTPResponse

    /// What to tell a client instead of an answer of which nothing was sent, because its body could not be read.
    func refusal(of error: any Error, insteadOf response: HTTPResponse) -> HTTPResponse
}

/// A request, with its target taken apart. Its body is read from the connection while it is handled.
package struct HTTPRequest {
    let method: HTTPMethod
    let headers: HTTPHeaders
    /// Percent-decoded; nil if it is not valid.
    let path: String?
    let query: QueryParameters
    let body: RequestBody
    let target: String
    private let connection: any Channel

    init(head: HTTPRequestHead, body: RequestBody, connection: any Channel) {
        self.connection = connection
        method = head.method
        headers = head.headers
        target = head.uri
        let mark = head.uri.utf8.firstIndex(of: UInt8(ascii: "?"))
        path = percentDecoded(head.uri[..<(mark ?? head.uri.endIndex)], plusIsSpace: false)
        query = QueryParameters(mark.map { head.uri[$0...].dropFirst() } ?? "")
        self.body = body
    }

    /// The address of whoever opened the connection.
    var peer: String? { connection.remoteAddress?.ipAddress }

    /// The only value of a header; nil if it is missing.
    func header(_ name: String) -> String? { headers.first(name: name) }
}

package struct HTTPResponse: Sendable {
    var status: HTTPResponseStatus
    var headers: HTTPHeaders
    var body: Body

    enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        case object(StoredObject, Range<Int64>)

        var count: Int64 {
            switch self {
            case .none: 0
            case .bytes(let bytes): Int64(bytes.readableBytes)
            case .object(_, let range): range.upperBound - range.lowerBound
            }
        }
    }

    init(_ status: HTTPResponseStatus, _ headers: HTTPHeaders = [:], _ body: Body = .none) {
        (self.status, self.headers, self.body) = (status, headers, body)
    }

    init(_ status: HTTPResponseStatus, _ headers: HTTPHeaders = [:], text: String, type: String) {
        self.init(status, headers, .bytes(ByteBuffer(string: text)))
        self.headers.replaceOrAdd(name: "Content-Type", value: type)
    }
}
