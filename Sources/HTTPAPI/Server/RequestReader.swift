import NIOCore
import NIOHTTP1

/// Hands the parts of a connection's requests to the one task that serves it, and reads from the socket only when that
/// task waits for a part: what a client sends ahead stays in the kernel, and memory stays bounded by one read.
///
/// Used on the channel's event loop only, where the task runs too; no part crosses threads.
final class RequestReader: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart

    private var context: ChannelHandlerContext?
    private var arrived = CircularBuffer<HTTPServerRequestPart>()
    private var failure: (any Error)?
    private var isAtEnd = false
    private var waiting: CheckedContinuation<HTTPServerRequestPart?, any Error>?

    /// The next part; nil if the client sends no more.
    ///
    /// - Throws: `HTTPParserError`, or why the connection failed.
    func next() async throws -> HTTPServerRequestPart? {
        if let part = arrived.popFirst() { return part }
        if let failure { throw failure }
        guard !isAtEnd, let context else { return nil }
        return try await withCheckedThrowingContinuation { continuation in
            waiting = continuation
            context.read()
        }
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        end()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        if let waiting {
            self.waiting = nil
            waiting.resume(returning: part)
        } else {
            arrived.append(part)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if waiting != nil { context.read() }  // what came was less than a part
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed { end() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) { end() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        failure = failure ?? error
        waiting?.resume(throwing: error)
        waiting = nil
    }

    private func end() {
        isAtEnd = true
        waiting?.resume(returning: nil)
        waiting = nil
    }
}
