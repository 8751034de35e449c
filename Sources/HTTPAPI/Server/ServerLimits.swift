package import NIOCore

/// What bounds the server's memory and patience, whatever clients do.
package struct ServerLimits: Sendable {
    /// Connections at the same time; more wait in the kernel's queue until one ends.
    package let connections: Int
    /// Bytes of a request's headers together.
    package let headerBytes: Int
    /// How long a connection may neither send nor receive.
    package let idle: TimeAmount
    /// How long requests may go on after a shutdown began.
    package let drain: Duration

    package init(connections: Int, headerBytes: Int, idle: TimeAmount, drain: Duration) {
        (self.connections, self.headerBytes, self.idle, self.drain) = (connections, headerBytes, idle, drain)
    }

    /// Most bytes of a body that are read and dropped after an early answer, so that the connection can be used again.
    static let drainedBody: Int64 = 1 << 20

    /// Most bytes that are read and dropped from a connection that will be closed, so that the client sees its answer.
    static let lingeringBody: Int64 = 64 << 20
}
