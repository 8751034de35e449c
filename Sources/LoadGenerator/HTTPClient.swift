/// A request with a body in pieces that are sent one after the other.
struct HTTPRequest {
    var method = "GET"
    var path: String
    var fields: [(name: String, value: String)] = []
    var body: [[UInt8]] = []
}

/// An HTTP/1.1 client on one connection that is kept alive. It never repeats a request: what fails is to be seen.
final class HTTPClient {
    private let endpoint: Endpoint
    private var connection: Connection?

    init(_ endpoint: Endpoint) { self.endpoint = endpoint }

    /// - Parameter limit: most bytes of the body that are kept; none unless given. More than that is an error.
    func send(_ request: HTTPRequest, collecting limit: Int? = nil) throws -> HTTPResponse {
        let connection = try self.connection ?? Connection(to: endpoint)
        // Gone unless all goes well, because what a failed exchange leaves on a connection belongs to no request.
        self.connection = nil
        try connection.send(pieces(of: request))
        var response = try HTTPResponse(head: connection.read(through: endOfHead))
        while response.status < 200 { response = try HTTPResponse(head: connection.read(through: endOfHead)) }
        let isDelimited = try readBody(of: &response, to: request.method, from: connection, limit)
        if isDelimited, response.keepsAlive { self.connection = connection }
        return response
    }

    private func pieces(of request: HTTPRequest) -> [[UInt8]] {
        var head = "\(request.method) \(request.path) HTTP/1.1\r\nHost: \(endpoint.authority)\r\n"
        for (name, value) in request.fields { head += "\(name): \(value)\r\n" }
        let length = request.body.reduce(0) { $0 + $1.count }
        if length > 0 || request.method.hasPrefix("P") { head += "Content-Length: \(length)\r\n" }
        return [Array((head + "\r\n").utf8)] + request.body
    }

    /// - Returns: whether the body's end was told by something else than the end of the connection.
    private func readBody(
        of response: inout HTTPResponse,
        to method: String,
        from connection: Connection,
        _ limit: Int?
    ) throws -> Bool {
        if method == "HEAD" || response.status == 204 || response.status == 304 { return true }
        var (body, length) = ([UInt8](), 0)
        let consume = { (bytes: UnsafeRawBufferPointer) in
            length += bytes.count
            guard let limit else { return }
            guard length <= limit else { throw LoadError("The response has more than \(limit) bytes.") }
            body.append(contentsOf: bytes)
        }
        var isDelimited = true
        if response.field("transfer-encoding")?.lowercased() == "chunked" {
            try readChunks(from: connection, consume)
        } else if let text = response.field("content-length") {
            guard let count = Int(text), count >= 0 else { throw LoadError("Content-Length is '\(text)'.") }
            try connection.read(count, consume)
        } else {
            try connection.readToEnd(consume)
            isDelimited = false
        }
        (response.body, response.bodyLength) = (body, length)
        return isDelimited
    }

    private func readChunks(from connection: Connection, _ consume: (UnsafeRawBufferPointer) throws -> Void) throws {
        while true {
            let line = try connection.read(through: endOfLine)
            let text = String(decoding: line.prefix { $0 != endOfLine[0] && $0 != UInt8(ascii: ";") }, as: UTF8.self)
            guard let count = Int(text, radix: 16), count >= 0 else { throw LoadError("A chunk's size is '\(text)'.") }
            guard count > 0 else { break }
            try connection.read(count, consume)
            _ = try connection.read(through: endOfLine)
        }
        while try connection.read(through: endOfLine).count > endOfLine.count {}  // trailers
    }
}

private let endOfLine = Array("\r\n".utf8)
private let endOfHead = Array("\r\n\r\n".utf8)
