import Foundation
import Synchronization

/// One line on standard error that says how far a long task is.
final class ProgressBar: Sendable {
    private let shown = Mutex(-1)
    private static let width = 40

    /// Nil for machines, and where standard error is no terminal.
    init?(unless json: Bool) { guard !json, isatty(STDERR_FILENO) != 0 else { return nil } }

    func show(_ done: Int, of total: Int) {
        let percent = total > 0 ? min(100, done * 100 / total) : 100
        let isNew = shown.withLock { shown in
            defer { shown = percent }
            return shown != percent
        }
        guard isNew else { return }
        let filled = percent * Self.width / 100
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
        FileHandle.standardError.write(Data("\r[\(bar)] \(percent)% \(done)/\(total)".utf8))
    }

    func finish() { FileHandle.standardError.write(Data("\n".utf8)) }
}
