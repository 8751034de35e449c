import NIOCore
import Synchronization
import Telemetry

/// Which connections there are and which of them serve a request now: what a graceful shutdown must know.
final class ConnectionTracker: Sendable {
    private struct State {
        var isDraining = false
        var connections: [ObjectIdentifier: (channel: any Channel, requests: Int)] = [:]
        var served = 0
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())
    private let limit: Int

    private let gauge: Counter

    init(limit: Int, gauge: Counter) {
        self.limit = limit
        self.gauge = gauge
    }

    var count: Int { state.withLock { $0.connections.count } }

    /// Returns when one more connection may be served. ``leave()`` makes room again.
    func enter() async {
        await withCheckedContinuation { continuation in
            let hasRoom = state.withLock { state in
                if state.served < limit || state.isDraining {
                    state.served += 1
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if hasRoom { continuation.resume() }
        }
    }

    func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.waiting.isEmpty else {
                state.served -= 1
                return nil
            }
            return state.waiting.removeFirst()  // it takes the place over
        }
        next?.resume()
    }

    func add(_ channel: any Channel) {
        gauge.add()
        let mustClose = state.withLock { state in
            state.connections[ObjectIdentifier(channel)] = (channel, 0)
            return state.isDraining
        }
        if mustClose { channel.close(promise: nil) }
    }

    func remove(_ channel: any Channel) {
        gauge.add(-1)
        state.withLock { _ = $0.connections.removeValue(forKey: ObjectIdentifier(channel)) }
    }

    func beginRequest(_ channel: any Channel) {
        state.withLock { $0.connections[ObjectIdentifier(channel)]?.requests += 1 }
    }

    /// - Returns: whether the connection may serve another request.
    func endRequest(_ channel: any Channel) -> Bool {
        state.withLock { state in
            state.connections[ObjectIdentifier(channel)]?.requests -= 1
            return !state.isDraining
        }
    }

    var isDraining: Bool { state.withLock { $0.isDraining } }

    /// Closes the connections that serve no request, now and when their request is done.
    func drain() {
        let (idle, waiting) = state.withLock { state in
            state.isDraining = true
            defer { state.waiting = [] }
            state.served += state.waiting.count
            return (state.connections.values.filter { $0.requests <= 0 }.map(\.channel), state.waiting)
        }
        for channel in idle { channel.close(promise: nil) }
        for continuation in waiting { continuation.resume() }
    }

    func closeAll() {
        for channel in state.withLock({ $0.connections.values.map(\.channel) }) { channel.close(promise: nil) }
    }
}
