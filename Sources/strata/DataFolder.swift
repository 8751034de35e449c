import Foundation

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

    /// Whether a registry has been started here.
    var holdsRegistry: Bool { FileManager.default.fileExists(atPath: database) }

    /// - Throws: ``ConfigurationError`` unless a registry has been started here.
    func requireRegistry() throws {
        guard !holdsRegistry else { return }
        let reason = "\(path) holds no registry: metadata.sqlite is missing."
        throw ConfigurationError(problems: [.contradiction(keys: ["data"], reason: reason)])
    }
}
