import AsyncHTTPClient
import Logging
import NIOCore
import NIOHTTP1
import OCI

/// Reads a blob as the source sends it, no faster than it is asked for. What breaks off is asked for again from there on.
final class BlobDownload {
    private let source: SourceRegistry
    private let blob: Descriptor
    private let repository: RepositoryName
    /// Bytes that came.
    private var offset: Int64 = 0
    /// Bytes at the start of the answer that came before: the source does not know ranges.
    private var surplus: Int64 = 0
    private var body: HTTPClientResponse.Body.AsyncIterator?
    private var breaks = 0

    /// Answers that end early in a row, without a byte between them, until we give up.
    private static let maximumBreaks = 4

    init(_ blob: Descriptor, in repository: RepositoryName, of source: SourceRegistry) {
        (self.blob, self.repository, self.source) = (blob, repository, source)
    }

    /// The next bytes, nil when all that the descriptor promises have come.
    ///
    /// - Throws: ``SourceError``.
    func next() async throws -> ByteBuffer? {
        while offset < blob.size {
            if body == nil { body = try await open() }
            let reason: String
            do {
                // Read by whoever pulls this download, one piece at a time.
                nonisolated(unsafe) var pieces = body
                let chunk = try await pieces?.next()
                body = pieces
                if var chunk {
                    let known = min(surplus, Int64(chunk.readableBytes))
                    chunk.moveReaderIndex(forwardBy: Int(known))
                    surplus -= known
                    guard chunk.readableBytes > 0 else { continue }
                    return try take(chunk)
                }
                reason = "it ended \(blob.size - offset) bytes early"
            } catch let error as SourceError {
                throw error
            } catch {
                try Task.checkCancellation()
                reason = "\(error)"
            }
            body = nil
            breaks += 1
            guard breaks < Self.maximumBreaks else {
                throw SourceError.unavailable("The blob \(blob.digest) breaks off at byte \(offset): \(reason).")
            }
            source.logger.info(
                "blob is read on",
                metadata: ["digest": "\(blob.digest)", "offset": "\(offset)", "reason": "\(reason)"]
            )
        }
        return nil
    }

    private func take(_ chunk: ByteBuffer) throws -> ByteBuffer {
        offset += Int64(chunk.readableBytes)
        guard offset <= blob.size else { throw wrongSize("more than \(blob.size)") }
        breaks = 0
        return chunk
    }

    private func open() async throws -> HTTPClientResponse.Body.AsyncIterator {
        let response = try await source.open(source.blobRequest(blob.digest, in: repository, from: offset))
        let isRest = response.status == .partialContent
        if isRest, let range = response.headers.first(name: "Content-Range"), !range.hasPrefix("bytes \(offset)-") {
            throw SourceError.refused("The source sends another part of \(blob.digest) than was asked for.")
        }
        surplus = isRest ? 0 : offset
        let length = response.headers.first(name: "Content-Length").flatMap { Int64($0) }
        if let length, length != blob.size - (isRest ? offset : 0) {
            throw wrongSize("\(length + (isRest ? offset : 0))")
        }
        return response.body.makeAsyncIterator()
    }

    private func wrongSize(_ found: String) -> SourceError {
        .refused("The blob \(blob.digest) has \(found) bytes at the source, but its manifest says \(blob.size).")
    }
}
