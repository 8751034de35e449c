import NIOCore

/// Closes a connection on which nothing has moved for too long, in either direction.
final class IdleCloser: ChannelDuplexHandler {
    typealias InboundIn = NIOAny
    typealias OutboundIn = NIOAny

    private let limit: TimeAmount
    private var lastMove = NIODeadline.now()
    private var check: Scheduled<Void>?

    init(after limit: TimeAmount) { self.limit = limit }

    func handlerAdded(context: ChannelHandlerContext) { scheduleCheck(context) }
    func handlerRemoved(context: ChannelHandlerContext) { check?.cancel() }

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

    private func scheduleCheck(_ context: ChannelHandlerContext) {
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        let this = NIOLoopBound(self, eventLoop: context.value.eventLoop)
        check = context.value.eventLoop.scheduleTask(deadline: lastMove + limit) {
            if this.value.lastMove + this.value.limit <= .now() {
                context.value.close(promise: nil)
            } else {
                this.value.scheduleCheck(context.value)
            }
        }
    }
}
