import Glibc

/// A blocking TCP connection with a read buffer. Used by one thread.
final class Connection {
    private let descriptor: Int32
    private var buffer = [UInt8](repeating: 0, count: bufferSize)
    private var unread = 0..<0

    /// Bytes taken from the socket at once.
    private static let bufferSize = 256 * 1024
    /// Most bytes of a request that are copied to be sent at once: a call costs more.
    private static let joinedSize = 64 * 1024
    /// Most bytes of a line or a response head; also what one fits in the buffer.
    private static let maximumHeadSize = 64 * 1024
    /// Seconds that the server may be silent.
    private static let patience = 120

    init(to endpoint: Endpoint) throws {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(endpoint.host, "\(endpoint.port)", &hints, &found) == 0, let address = found?.pointee else {
            throw LoadError("The host \(endpoint.host) is not known.")
        }
        defer { freeaddrinfo(found) }
        descriptor = socket(address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw LoadError("There is no socket to be had: \(lastError()).") }
        var one: Int32 = 1
        var timeout = timeval(tv_sec: Self.patience, tv_usec: 0)
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 else {
            throw LoadError("Nothing answers at \(endpoint.authority): \(lastError()).")
        }
    }

    deinit { close(descriptor) }

    // MARK: Sending

    /// Sends all pieces as if they were one, so that no small packet waits for its acknowledgement.
    func send(_ pieces: [[UInt8]]) throws {
        let size = pieces.reduce(0) { $0 + $1.count }
        if size <= Self.joinedSize {
            var all: [UInt8] = []
            all.reserveCapacity(size)
            for piece in pieces { all += piece }
            return try send(all, flags: Int32(MSG_NOSIGNAL))
        }
        let last = pieces.lastIndex { !$0.isEmpty } ?? 0
        for (index, piece) in pieces.enumerated() where !piece.isEmpty {
            try send(piece, flags: Int32(MSG_NOSIGNAL) | (index < last ? Int32(MSG_MORE) : 0))
        }
    }

    private func send(_ bytes: [UInt8], flags: Int32) throws {
        try bytes.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let sent = Glibc.send(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count, flags)
                if sent < 0, errno == EINTR { continue }
                guard sent > 0 else { throw LoadError("The server did not take the request: \(lastError()).") }
                rest = rest.dropFirst(sent)
            }
        }
    }

    // MARK: Receiving

    /// All up to and with the delimiter.
    func read(through delimiter: [UInt8]) throws -> [UInt8] {
        var searched = 0
        while true {
            if let end = firstEnd(of: delimiter, from: unread.lowerBound + searched) {
                defer { unread = end..<unread.upperBound }
                return Array(buffer[unread.lowerBound..<end])
            }
            searched = max(0, unread.count - delimiter.count + 1)
            guard unread.count < Self.maximumHeadSize else { throw LoadError("The response's head has no end.") }
            guard try fill() else { throw LoadError("The server closed the connection before it answered.") }
        }
    }

    /// Hands out the next `count` bytes in parts.
    func read(_ count: Int, _ consume: (UnsafeRawBufferPointer) throws -> Void) throws {
        var left = count
        while left > 0 {
            if unread.isEmpty {
                guard try fill() else { throw LoadError("The connection ended \(left) bytes too early.") }
            }
            let part = unread.prefix(left)
            try buffer.withUnsafeBytes { try consume(UnsafeRawBufferPointer(rebasing: $0[part])) }
            unread = part.upperBound..<unread.upperBound
            left -= part.count
        }
    }

    func readToEnd(_ consume: (UnsafeRawBufferPointer) throws -> Void) throws {
        repeat { try read(unread.count, consume) } while try fill()
    }

    private func firstEnd(of delimiter: [UInt8], from start: Int) -> Int? {
        guard unread.upperBound - start >= delimiter.count, let last = delimiter.last else { return nil }
        return buffer.withUnsafeBufferPointer { buffer in
            for index in (start + delimiter.count - 1)..<unread.upperBound where buffer[index] == last {
                if buffer[(index - delimiter.count + 1)...index].elementsEqual(delimiter) { return index + 1 }
            }
            return nil
        }
    }

    /// Takes more from the socket. - Returns: false at the end of the stream.
    private func fill() throws -> Bool {
        if unread.lowerBound > 0 {
            let kept = unread.count
            if kept > 0 { buffer.replaceSubrange(0..<kept, with: Array(buffer[unread])) }
            unread = 0..<kept
        }
        let end = unread.upperBound
        while true {
            let count = buffer.withUnsafeMutableBytes { buffer in
                let free = UnsafeMutableRawBufferPointer(rebasing: buffer[end...])
                return recv(descriptor, free.baseAddress, free.count, 0)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw LoadError("The server did not answer: \(lastError()).") }
            unread = unread.lowerBound..<(end + count)
            return count > 0
        }
    }
}

private func lastError() -> String { String(cString: strerror(errno)) }
