import SQLStore

// Uploads to a store that takes objects in parts: what it needs to go on with them, and the key of the bytes behind the
// last whole part.
extension Migrations {
    static let multipartUploads = Migration(version: 2, name: "multipart uploads") { d in
        [
            Query(schema: "ALTER TABLE upload_session ADD COLUMN tail_key \(d.bytes)"),
            Query(schema: "ALTER TABLE upload_session ADD COLUMN storage_state \(d.bytes)"),
        ]
    }
}
