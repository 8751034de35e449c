import BlobStorage
import NIOCore
import NIOHTTP1

/// The requests of one connection, or of one HTTP/2 stream, one after the other.
struct HTTPExchange {
    typealias Parts = NIOAsyncChannelInboundStream<HTTPServerRequestPart>.AsyncIterator

    let channel: any Channel
    /// What the tracker knows; differs from `channel` for an HTTP/2 stream.
    let connection: any Channel
    let canSendFiles: Bool
    let tracker: ConnectionTracker
    let responder: any Responder

    func serve(_ parts: Parts) async throws {
        let body = RequestBody(parts, channel: channel)
        var mayGoOn = true
        while mayGoOn {
            let head: HTTPRequestHead
            do {
                guard let next = try await body.nextHead() else { return }
                head = next
            } catch let error as HTTPParserError {
                try await refuse(error)
                return
            }
            tracker.beginRequest(connection)
            var isDone = false
            defer { if !isDone { _ = tracker.endRequest(connection) } }
            let response = await responder.respond(to: HTTPRequest(head: head, body: body))
            let keepsAlive = head.isKeepAlive && body.canBeDrained && !tracker.isDraining
            try await write(response, to: head, keepsAlive: keepsAlive)
            let canGoOn = keepsAlive ? try await body.drain() : false
            isDone = true
            mayGoOn = tracker.endRequest(connection) && canGoOn
        }
        guard channel === connection else { return }
        // Says that nothing more comes, then reads on for a while: most clients look for an answer only when they have
        // sent everything, and closing on unread bytes would reset the connection and destroy the answer on its way.
        try await channel.close(mode: .output)
        try await body.discardRest()
    }

    private func refuse(_ error: HTTPParserError) async throws {
        let response = ErrorEnvelope.response(to: error)
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/")
        try await write(response, to: head, keepsAlive: false)
        try await channel.close(mode: .output)
    }

    private func write(_ response: HTTPResponse, to request: HTTPRequestHead, keepsAlive: Bool) async throws {
        var headers = response.headers
        if !keepsAlive, request.version.major == 1 { headers.replaceOrAdd(name: "Connection", value: "close") }
        if keepsAlive, request.version == .http1_0 { headers.replaceOrAdd(name: "Connection", value: "keep-alive") }
        if !headers.contains(name: "Content-Length"), response.status.mayHaveBody {
            headers.add(name: "Content-Length", value: "\(response.body.count)")
        }
        let head = HTTPResponseHead(version: request.version, status: response.status, headers: headers)
        channel.write(HTTPServerResponsePart.head(head), promise: nil)
        if request.method != .HEAD {
            switch response.body {
            case .none: break
            case .bytes(let bytes): channel.write(HTTPServerResponsePart.body(.byteBuffer(bytes)), promise: nil)
            case .file(let file, let range): try await send(file, range)
            }
        }
        try await channel.writeAndFlush(HTTPServerResponsePart.end(nil)).get()
    }

    /// Sends part of a file, a piece at a time, each only when the one before has gone: memory stays bounded, and a
    /// client that reads slowly is still seen to read.
    private func send(_ file: OpenFile, _ range: Range<Int64>) async throws {
        let pieceSize: Int64 = canSendFiles ? 1 << 20 : 256 * 1024
        var offset = range.lowerBound
        while offset < range.upperBound {
            let end = min(offset + pieceSize, range.upperBound)
            if canSendFiles {
                let region = try file.region(offset..<end)
                defer { try? region.fileHandle.close() }  // a duplicate for reading: closing it can lose nothing
                try await channel.writeAndFlush(HTTPServerResponsePart.body(.fileRegion(region))).get()
                offset = end
            } else {
                let bytes = try await file.read(at: offset, count: Int(end - offset))
                guard bytes.readableBytes > 0 else { throw FileShrunk() }
                offset += Int64(bytes.readableBytes)
                try await channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(bytes))).get()
            }
        }
    }
}

/// A file ended before the length that was promised; the connection is cut so that the client notices.
struct FileShrunk: Error {}

extension HTTPResponseStatus {
    fileprivate var mayHaveBody: Bool { code >= 200 && code != 204 && code != 304 }
}
