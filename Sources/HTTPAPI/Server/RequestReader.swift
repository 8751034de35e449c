import NIOCore
import NIOHTTP1

/// Hands the parts of a connection's requests to the one task that serves it, and reads from the socket at most one read
/// ahead of that task: what a client sends beyond that stays in the kernel, and memory stays bounded.
///
/// Used on the channel's event loop only, where the task runs too; no part crosses threads.
final class RequestReader: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart

    private var context: ChannelHandlerContext?
    private var arrived = CircularBuffer<HTTPServerRequestPart>()
    private var failure: (any Error)?
    private var isAtEnd = false
    /// Whether no read is under way because parts wait to be taken.
    private var isPaused = false
    private var waiting: CheckedContinuation<HTTPServerRequestPart?, any Error>?

    /// The next part; nil if the client sends no more.
    ///
    /// - Throws: `HTTPParserError`, or why the connection failed.
    func next() async throws -> HTTPServerRequestPart? {
        if let part = arrived.popFirst() {
            if isPaused, arrived.isEmpty {
                isPaused = false
                context?.read()
            }
            return part
        }
        if let failure { throw failure }
        guard !isAtEnd else { return nil }
        return try await withCheckedThrowingContinuation { waiting = $0 }
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { context.read() }
    }

    func channelActive(context: ChannelHandlerContext) {
        context.read()
        context.fireChannelActive()
    }

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
        // The end of a request without a body waits until it is answered; that is no reason not to see the next come,
        // or the client go.
        let onlyEnd = if arrived.count == 1, case .end = arrived[arrived.startIndex] { true } else { false }
        if arrived.isEmpty || onlyEnd { context.read() } else { isPaused = true }
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
