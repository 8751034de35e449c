package import OCI

/// What rules ask of a tag. Times are milliseconds since 1970.
package struct TagFacts: Hashable, Sendable {
    package let name: Tag
    package let digest: Digest
    /// When the tag was last pushed: made, or moved to this digest.
    package let pushedAt: Int64
    package let pulledAt: Int64?
    /// As in `linux/amd64`; none if the manifest names none, nil if it cannot be known here.
    package let platforms: [String]?
    /// Another manifest of its repository, which it is about by its name, as signatures are.
    package let subject: Digest?

    package init(
        name: Tag,
        digest: Digest,
        pushedAt: Int64,
        pulledAt: Int64?,
        platforms: [String]?,
        subject: Digest? = nil
    ) {
        self.name = name
        self.digest = digest
        self.pushedAt = pushedAt
        self.pulledAt = pulledAt
        self.platforms = platforms
        self.subject = subject == digest ? nil : subject
    }

    /// A tag that was not pulled since it was pushed counts from its push.
    var usedAt: Int64 { max(pushedAt, pulledAt ?? pushedAt) }
}

/// A manifest that no tag names, that no kept index lists and that is about no kept subject.
package struct UntaggedManifest: Hashable, Sendable {
    package let digest: Digest
    /// Since when, in milliseconds since 1970.
    package let since: Int64

    package init(digest: Digest, since: Int64) {
        self.digest = digest
        self.since = since
    }
}

/// Keeps content whatever the rules say.
package struct RetentionHold: Hashable, Sendable, CustomStringConvertible {
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        case legal
        case inUse = "in-use"
    }

    /// As text, a digest or a pattern.
    package enum Subject: Hashable, Sendable, CustomStringConvertible {
        /// The manifest, and every tag that names it.
        case digest(Digest)
        case tags(TagPattern)

        /// A pattern with a colon stands between slashes, so that a digest is never taken for one.
        ///
        /// - Throws: `ParseError` or ``TagPatternError``.
        package init(parsing text: String) throws {
            self =
                text.utf8.contains(UInt8(ascii: ":")) && !text.hasPrefix("/")
                ? .digest(try Digest(parsing: text)) : .tags(try TagPattern(parsing: text))
        }

        package var description: String {
            switch self {
            case .digest(let digest): digest.description
            case .tags(let pattern): pattern.description
            }
        }
    }

    package let kind: Kind
    package let subject: Subject
    package let reason: String

    package init(kind: Kind, subject: Subject, reason: String) {
        self.kind = kind
        self.subject = subject
        self.reason = reason
    }

    /// Why a text is no reason; nil if it is one. Whoever is refused because of the hold gets to read it.
    package static func fault(ofReason text: String) -> String? {
        let most = 500
        return (1...most).contains(text.unicodeScalars.count) ? nil : "Give a reason, of at most \(most) characters."
    }

    package var description: String { "\(kind.rawValue) hold on \(subject): \(reason)" }

    func keeps(_ tag: TagFacts) -> Bool {
        switch subject {
        case .digest(let digest): tag.digest == digest
        case .tags(let pattern): pattern.matches(tag.name)
        }
    }

    func keeps(_ manifest: UntaggedManifest) -> Bool { subject == .digest(manifest.digest) }
}
