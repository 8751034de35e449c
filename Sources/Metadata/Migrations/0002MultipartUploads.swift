import SQLStore

// Uploads to a store that takes objects in parts: what it needs to go on with them, and the key of the bytes behind the
// last whole part.
extension Migrations {
    static let multipartUploads = Migration(
        version: 2,
        name: "multipart uploads",
        changes: { d in
            [
                .column("tail_key", of: "upload_session", type: d.bytes),
                .column("storage_state", of: "upload_session", type: d.bytes),
            ]
        }
    )
}
