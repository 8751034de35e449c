import Foundation

/// Looks at the folder that holds the metadata or the objects, before anything is made in it.
package struct FolderCheckup: Sendable {
    private let path: String

    /// Free space below which a warning is given, in bytes.
    private static let comfortable: UInt64 = 1 << 30

    /// File systems of other machines: SQLite's locks do not hold on them, and a sync may not mean what it says.
    private static let remote: Set<String> = [
        "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "afs", "gpfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs",
    ]

    package init(_ path: String) { self.path = path }

    package var exists: Bool { access(path, F_OK) == 0 }

    package func run() -> [Diagnosis] {
        do {
            try write()
        } catch {
            let advice = "Let this user write there, mount it for writing, or choose another folder with data"
            return [.problem("data folder", "nothing can be written to \(path): \(error)", advice)]
        }
        let place = nearest
        return [
            .ok("data folder", exists ? "it can be written" : "it is made when it is needed"), room(place), kind(place),
        ]
    }

    /// The folder, or the one that it would be made in.
    private var nearest: String {
        var folder = URL(fileURLWithPath: path).standardizedFileURL
        while access(folder.path, F_OK) != 0, folder.path != "/" { folder.deleteLastPathComponent() }
        return folder.path
    }

    private struct Refused: Error, CustomStringConvertible {
        let description: String

        init() { description = String(cString: strerror(errno)) }
    }

    private func write() throws {
        guard exists else {
            var status = stat()
            guard stat(nearest, &status) == 0 else { throw Refused() }
            // A file in its place, or on the way to it.
            errno = ENOTDIR
            guard status.st_mode & S_IFMT == S_IFDIR, access(nearest, W_OK | X_OK) == 0 else { throw Refused() }
            return
        }
        let probe = "\(path)/.doctor-\(UUID().uuidString)"
        let descriptor = open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Refused() }
        defer {
            close(descriptor)
            unlink(probe)
        }
        guard Foundation.write(descriptor, "x", 1) == 1, fsync(descriptor) == 0 else { throw Refused() }
    }

    private func room(_ place: String) -> Diagnosis {
        var status = statvfs()
        guard statvfs(place, &status) == 0 else {
            return .warning("free space", "it is not known: \(Refused())", "See to the file system")
        }
        let bytes = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        let size = "\(bytes >> 20) MiB are free"
        guard bytes >= Self.comfortable else {
            return .warning("free space", size, "Make room, or pushes will be refused")
        }
        guard status.f_files == 0 || status.f_favail > 10_000 else {
            return .warning("free space", "\(status.f_favail) more files can be made", "Make room for more inodes")
        }
        return .ok("free space", size)
    }

    private func kind(_ place: String) -> Diagnosis {
        guard let mounts = try? String(contentsOfFile: "/proc/self/mounts", encoding: .utf8) else {
            return .skipped("file system", "this system does not tell what is mounted")
        }
        let kind = Self.kind(of: URL(fileURLWithPath: place).resolvingSymlinksInPath().path, mounts)
        guard Self.remote.contains(kind) else { return .ok("file system", "it is local (\(kind))") }
        return .warning(
            "file system",
            "it is \(kind), of another machine",
            "Use a local disk for data; for storage that is shared, metadata = postgres and blobs = s3"
        )
    }

    /// The type of the file system that a path is on.
    ///
    /// - Parameter mounts: a line each, `device folder type options`, later ones over earlier ones.
    ///   Source: [proc_pid_mounts(5)](https://man7.org/linux/man-pages/man5/proc_pid_mounts.5.html).
    static func kind(of path: String, _ mounts: String) -> String {
        var best = (folder: "", kind: "unknown")
        for line in mounts.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count > 2 else { continue }
            let folder = String(words[1].replacing("\\040", with: " "))
            guard path == folder || folder == "/" || path.hasPrefix(folder + "/"), folder.count >= best.folder.count
            else {
                continue
            }
            best = (folder, String(words[2]))
        }
        return best.kind
    }
}
