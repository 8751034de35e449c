import Foundation

/// What lies where in the folder `data`.
struct DataFolder {
    let path: String

    init(_ configuration: Configuration) { path = URL(fileURLWithPath: configuration.data).path }

    var database: String { path + "/metadata.sqlite" }
    var objects: String { path + "/objects" }

    /// The folder exists from now on.
    func make() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    /// Whether a registry has been started here.
    var holdsRegistry: Bool { FileManager.default.fileExists(atPath: database) }
}
