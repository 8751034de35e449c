import BlobStorage
import NIOCore
import NIOHTTP1

/// The requests of one connection, or of one HTTP/2 stream, one after the other.
struct HTTPExchange {
    let writer: ResponseWriter
    /// What the tracker knows; differs from the writer's channel for an HTTP/2 stream.
    let connection: any Channel
    let tracker: ConnectionTracker
    let responder: any Responder

    func serve(_ reader: RequestReader) async throws {
        let body = RequestBody(reader, writer: writer)
        var mayGoOn = true
        while mayGoOn {
            let head: HTTPRequestHead
            do {
                guard let next = try await body.nextHead() else { return }
                head = next
            } catch let error as HTTPParserError {
                try await refuse(error)
                break
            }
            tracker.beginRequest(connection)
            var isDone = false
            defer { if !isDone { _ = tracker.endRequest(connection) } }
            let request = HTTPRequest(head: head, body: body, connection: connection)
            let keepsAlive = try await answer(request, head)
            let canGoOn = keepsAlive ? try await body.drain() : false
            isDone = true
            mayGoOn = tracker.endRequest(connection) && canGoOn
        }
        guard case .http1 = writer.wire else { return }
        // Says that nothing more comes, then reads on for a while: most clients look for an answer only when they have
        // sent everything, and closing on unread bytes would reset the connection and destroy the answer on its way.
        try await connection.close(mode: .output)
        try await body.discardRest()
    }

    /// - Returns: whether the connection may be used again.
    private func answer(_ request: HTTPRequest, _ head: HTTPRequestHead) async throws -> Bool {
        var mayAskAgain = true
        while true {
            let response = await writer.turn.server { await responder.respond(to: request) }
            let keepsAlive = head.isKeepAlive && request.body.canBeDrained && !tracker.isDraining
            do {
                try await writer.write(response, to: head, keepsAlive: keepsAlive)
                return keepsAlive
            } catch let error as BodyUnavailable {
                // Deleted since its key was looked up; the blob may be there again under another one.
                if mayAskAgain, case BlobStorageError.missing = error.cause {
                    mayAskAgain = false
                    continue
                }
                let refusal = responder.refusal(of: error.cause, insteadOf: response)
                try await writer.write(refusal, to: head, keepsAlive: keepsAlive)
                return keepsAlive
            }
        }
    }

    private func refuse(_ error: HTTPParserError) async throws {
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/")
        try await writer.write(ErrorEnvelope.response(to: error), to: head, keepsAlive: false)
    }
}
