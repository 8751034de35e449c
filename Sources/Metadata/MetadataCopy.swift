import SQLStore

/// A copy of an embedded database, in one file that nobody writes to.
package struct MetadataCopy: Sendable {
    /// Reads the copy.
    package let store: MetadataStore
    private let file: SQLiteFile

    /// Copies the database `source`, which may be in use, as it is at one moment.
    ///
    /// The copy has no upload sessions: they go on with objects that are not published, and such are not in a backup. Their
    /// keys stay in the trash, where deleting an object that is not there is no error.
    ///
    /// - Parameter path: an empty file, or none. Nothing is synced.
    /// - Throws: ``SQLError``; ``SchemaError`` if a newer program has written the database.
    package static func make(of source: String, at path: String) async throws {
        let original = try SQLiteFile(path: source, readonly: true)
        try await MetadataStore(original).checkSchema()
        try await original.copy(to: path)
        try original.close()
        let copy = try SQLiteFile(path: path, readonly: false)
        try await copy.write { db in try db.run("DELETE FROM upload_session") }
        try copy.close()
    }

    /// The ``MetadataStore/identity()`` of the database at `path`, which may be in use.
    package static func identity(of path: String) async throws -> [UInt8]? {
        let file = try SQLiteFile(path: path, readonly: true)
        let identity = try await MetadataStore(file).identity()
        try file.close()
        return identity
    }

    /// Opens a copy.
    ///
    /// - Throws: ``SQLError``; ``SchemaError`` if a newer program has made it.
    package init(path: String) async throws {
        file = try SQLiteFile(path: path, readonly: true)
        store = MetadataStore(file)
        try await store.checkSchema()
    }

    package func close() throws { try file.close() }
}
