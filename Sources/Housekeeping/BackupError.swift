package import BlobStorage
package import OCI

/// Why a backup was not made or restored. For the operator.
package enum BackupError: Error, Sendable, CustomStringConvertible {
    case isDataFolder(String)
    case isBusy(String)
    case noBackup(String)
    case isOfAnother(String)
    case unreadable(String, reason: String)
    case notEmpty(String)
    case objectMissing(Digest, StorageKey, BackupError.Place)

    package enum Place: Sendable { case registry, backup }

    package var description: String {
        switch self {
        case .isDataFolder(let path):
            "\(path) is the data folder of a registry (it holds metadata.sqlite); choose another folder for the backup."
        case .isBusy(let path):
            "Another process makes or restores the backup in \(path) right now; wait until it has ended."
        case .noBackup(let path):
            "\(path) holds no backup: snapshot.sqlite is missing. A first backup that was interrupted leaves none."
        case .isOfAnother(let path):
            """
            \(path) holds the backup of another registry, which this one would replace. Choose another folder for it; or \
            remove that backup first, if nobody needs it.
            """
        case .unreadable(let path, let reason):
            """
            \(path) holds a backup, but it cannot be told of which registry: \(reason). Choose another folder; or remove \
            that backup first, if nobody needs it.
            """
        case .notEmpty(let path):
            """
            \(path) is not empty, and a restored registry must not mix with another. Name a new folder; if an earlier \
            restore into this one was interrupted, remove what it left first.
            """
        case .objectMissing(let digest, let key, .registry):
            """
            The object \(key) of \(digest) is not there whole, so the backup was given up; the last one stays as it \
            was. Either the backup took longer than promises.trash, or the registry has lost the object: \
            'strata restore-check' lists all that are missing.
            """
        case .objectMissing(let digest, let key, .backup):
            "The backup is damaged: its object \(key) of \(digest) is missing or has another size."
        }
    }
}
