import BlobStorage
import Foundation
import Housekeeping
import Logging

/// What lies where in the folder `data`.
struct DataFolder {
    let path: String

    init(_ configuration: Configuration) { path = URL(fileURLWithPath: configuration.data).path }

    var database: String { path + "/metadata.sqlite" }
    var objects: String { path + "/objects" }

    /// The folder exists from now on. The database in it holds a secret and small blobs, so a new one is not for everybody
    /// to read; one that is there stays as it is.
    func make() throws {
        let parent = URL(fileURLWithPath: path).deletingLastPathComponent().path
        try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
        guard mkdir(path, 0o750) == 0 || errno == EEXIST else { throw Refusal("mkdir \(path)", errno) }
    }

    /// The file of the database exists from now on; an empty one is a database. SQLite gives the files that it makes beside
    /// it the same mode.
    func makeDatabase() throws {
        let descriptor = open(database, O_WRONLY | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw Refusal("open \(database)", errno) }
        close(descriptor)
    }

    /// Keeps other servers away until this process has ended: that one request at a time works on an upload, and on its file,
    /// only the server sees to that all of them come to.
    ///
    /// - Parameter patience: how long one that is stopping is waited for.
    /// - Throws: ``Refusal`` if another one stays.
    func lock(patience: Duration, _ logger: Logger) async throws {
        try make()
        let end = ContinuousClock.now + patience
        var isWaiting = false
        while true {
            do {
                if let lock = try FolderLock(path: path + "/lock", .writing) {
                    // Never let go of: requests that were cut off may write for as long as there is a process.
                    _ = Unmanaged.passRetained(lock)
                    return
                }
            } catch BlobStorageError.failed(_, let code) where [ENOLCK, EOPNOTSUPP, ENOSYS].contains(code) {
                logger.warning(
                    "the file system has no locks: nothing keeps a second 'strata serve' from the data folder",
                    metadata: ["folder": "\(path)"]
                )
                return
            }
            guard ContinuousClock.now < end else {
                throw Refusal("Another 'strata serve' uses \(path); stop it, or choose another folder with data.")
            }
            if !isWaiting {
                logger.notice("another 'strata serve' uses the data folder; waiting", metadata: ["folder": "\(path)"])
            }
            isWaiting = true
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Whether a registry has been started here.
    var holdsRegistry: Bool { FileManager.default.fileExists(atPath: database) }

    /// - Throws: ``ConfigurationError`` unless a registry has been started here.
    func requireRegistry() throws {
        guard !holdsRegistry else { return }
        let reason = "\(path) holds no registry: metadata.sqlite is missing."
        throw ConfigurationError(problems: [.contradiction(keys: ["data"], reason: reason)])
    }
}

extension Configuration {
    /// Whether anything is kept in the folder `data`.
    var usesDataFolder: Bool { metadata == .sqlite || blobs == .files }
}
