/// A response. The body is there only where it was asked for; its length always is.
struct HTTPResponse: Sendable {
    let status: Int
    private let head: [UInt8]
    var body: [UInt8] = []
    var bodyLength = 0

    init(head: [UInt8]) throws {
        let line = head.prefix { $0 != carriageReturn }.split(separator: UInt8(ascii: " "))
        guard line.count >= 2, line[0].starts(with: "HTTP/1.".utf8),
            let status = Int(String(decoding: line[1], as: UTF8.self))
        else { throw LoadError("The answer is not HTTP/1.1.") }
        self.status = status
        self.head = head
    }

    /// The first field of this name; the name in lower case.
    func field(_ name: String) -> String? {
        var line = head[...]
        while let end = line.firstIndex(of: lineFeed) {
            line = line[(end + 1)...]
            guard line.count > name.utf8.count, line[line.startIndex + name.utf8.count] == UInt8(ascii: ":") else {
                continue
            }
            guard zip(line, name.utf8).allSatisfy({ $0 | 0x20 == $1 | 0x20 }) else { continue }
            let value = line.dropFirst(name.utf8.count + 1).prefix { $0 != carriageReturn }
            return String(decoding: value.drop { $0 == UInt8(ascii: " ") }, as: UTF8.self)
        }
        return nil
    }

    /// Whether the server will take another request on this connection.
    var keepsAlive: Bool {
        guard let connection = field("connection") else { return true }
        return connection.lowercased() != "close"
    }
}

private let carriageReturn = UInt8(ascii: "\r")
private let lineFeed = UInt8(ascii: "\n")
