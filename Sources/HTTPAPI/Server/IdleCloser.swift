import NIOCore

/// Closes a connection on which nothing has moved for too long, in either direction, while it was the client's turn.
final class IdleCloser: ChannelDuplexHandler {
    typealias InboundIn = NIOAny
    typealias OutboundIn = NIOAny

    private let limit: TimeAmount
    private let turn: Turn
    private var lastMove = NIODeadline.now()
    private var nextCheck: Scheduled<Void>?

    init(after limit: TimeAmount, _ turn: Turn) { (self.limit, self.turn) = (limit, turn) }

    func handlerAdded(context: ChannelHandlerContext) { scheduleCheck(context) }
    func handlerRemoved(context: ChannelHandlerContext) { nextCheck?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastMove = .now()
        context.fireChannelRead(data)
    }

    func flush(context: ChannelHandlerContext) {
        lastMove = .now()
        context.flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        lastMove = .now()
        context.fireChannelWritabilityChanged()
    }

    private func check(_ context: ChannelHandlerContext) {
        lastMove = max(lastMove, turn.clientsSince ?? .now())
        if lastMove + limit <= .now() { context.close(promise: nil) } else { scheduleCheck(context) }
    }

    private func scheduleCheck(_ context: ChannelHandlerContext) {
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        let this = NIOLoopBound(self, eventLoop: context.value.eventLoop)
        nextCheck = context.value.eventLoop.scheduleTask(deadline: lastMove + limit) {
            this.value.check(context.value)
        }
    }
}
