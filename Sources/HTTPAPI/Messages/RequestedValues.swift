import OCI

// Values of the specification in what a client sent: what they are not is told in the words of an error envelope.

extension RepositoryName {
    /// - Throws: ``RegistryError`` `.nameInvalid`.
    init(requested text: String) throws {
        do {
            try self.init(parsing: text)
        } catch {
            throw RegistryError(.nameInvalid, "\(error)", detail: ["name": String(text.prefix(300))])
        }
    }
}

extension Digest {
    /// - Throws: ``RegistryError`` `.digestInvalid`.
    init(requested text: String) throws {
        do {
            try self.init(parsing: text)
        } catch {
            throw RegistryError(.digestInvalid, "\(error)", detail: ["digest": String(text.prefix(200))])
        }
    }
}

extension Tag {
    /// - Throws: ``RegistryError`` of the code.
    init(requested text: String, refusing code: RegistryError.Code) throws {
        do {
            try self.init(parsing: text)
        } catch {
            throw RegistryError(code, "\(error)", detail: ["tag": String(text.prefix(200))])
        }
    }
}

extension Reference {
    /// - Parameter code: how text that cannot be a tag is refused: a reader is told that there is no such manifest, a
    ///   writer what a tag looks like.
    init(requested text: String, refusing code: RegistryError.Code) throws {
        self =
            text.contains(":")
            ? .digest(try Digest(requested: text)) : .tag(try Tag(requested: text, refusing: code))
    }
}
