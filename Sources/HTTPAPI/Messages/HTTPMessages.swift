package import BlobStorage
import NIOCore
import NIOHTTP1

/// Turns a request into an answer; never fails.
package protocol Responder: Sendable {
    func respond(to request: HTTPRequest) async -> HTTPResponse
}

package typealias OpenFile = ObjectFile

/// A request, with its target taken apart. Its body is read from the connection while it is handled.
package struct HTTPRequest {
    let method: HTTPMethod
    let headers: HTTPHeaders
    /// Percent-decoded; nil if it is not valid.
    let path: String?
    let query: Query
    let body: RequestBody
    let target: String

    init(head: HTTPRequestHead, body: RequestBody) {
        method = head.method
        headers = head.headers
        target = head.uri
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = percentDecoded(parts.first ?? "", plusIsSpace: false)
        query = Query(parts.count > 1 ? parts[1] : "")
        self.body = body
    }

    /// The only value of a header; nil if it is missing.
    func header(_ name: String) -> String? { headers.first(name: name) }

    /// The parameters behind the `?`, in their order.
    struct Query {
        private let items: [(name: String, value: String)]

        init(_ text: some StringProtocol) {
            items = text.split(separator: "&").compactMap { item in
                let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard let name = percentDecoded(pair[0], plusIsSpace: true),
                    let value = percentDecoded(pair.count > 1 ? pair[1] : "", plusIsSpace: true)
                else { return nil }
                return (name, value)
            }
        }

        subscript(_ name: String) -> String? { items.first { $0.name == name }?.value }
        func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }
    }
}

package struct HTTPResponse: Sendable {
    var status: HTTPResponseStatus
    var headers: HTTPHeaders
    var body: Body

    enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        case file(OpenFile, Range<Int64>)

        var count: Int64 {
            switch self {
            case .none: 0
            case .bytes(let bytes): Int64(bytes.readableBytes)
            case .file(_, let range): range.upperBound - range.lowerBound
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

/// Nil if a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
func percentDecoded(_ text: some StringProtocol, plusIsSpace: Bool) -> String? {
    guard text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) else { return String(text) }
    var bytes: [UInt8] = []
    var rest = text.utf8.makeIterator()
    while let byte = rest.next() {
        switch byte {
        case UInt8(ascii: "%"):
            guard let high = rest.next(), let low = rest.next(),
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16), high != UInt8(ascii: "+")
            else { return nil }
            bytes.append(value)
        case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
        default: bytes.append(byte)
        }
    }
    return String(validating: bytes, as: UTF8.self)
}
