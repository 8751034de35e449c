import NIOHTTP1

/// What the management API can do, as its document says it.
struct ManagementOperation: Sendable {
    let path: ManagementPath
    let method: HTTPMethod
    let summary: String
    var details: String?
    /// Of the query.
    var parameters: [APIParameter] = []
    /// The name of the schema of the request's body.
    var body: String?
    var status = 200
    /// The name of the schema of the answer; of its items, if it is a list. Nil if the answer has no body.
    let answer: String?
    var isList = false
    /// The statuses of the errors that are its own.
    var errors: [Int] = []

    static let all =
        repositoryOperations + contentOperations + deletedOperations + holdOperations
        + retentionOperations + collectionOperations

    static func list(
        _ path: ManagementPath,
        of item: String,
        _ summary: String,
        details: String? = nil,
        parameters: [APIParameter] = [],
        errors: [Int] = []
    ) -> Self {
        Self(
            path: path,
            method: .GET,
            summary: summary,
            details: details,
            parameters: [.limit, .last] + parameters,
            answer: item,
            isList: true,
            errors: [400] + errors
        )
    }

    private static let repositoryOperations = [
        list(.repositories, of: "Repository", "All repositories, in the order of their names"),
        Self(path: .repository, method: .GET, summary: "One repository", answer: "Repository", errors: [400, 404]),
        Self(
            path: .repository,
            method: .DELETE,
            summary: "Delete a repository with all that it holds",
            details: """
                Its name is free at once. It can be put back, whole, until the moment that the answer tells, unless \
                something else was pushed under its name; after that its bytes are reclaimed as far as no other \
                repository has them.
                """,
            answer: "Deletion",
            errors: [400, 403, 404]
        ),
        list(
            .deletedRepositories,
            of: "DeletedRepository",
            "Deleted repositories that can be put back, in the order of their names"
        ),
    ]

    private static let contentOperations = [
        list(.tags, of: "Tag", "The tags of a repository, in the order of their names", errors: [404]),
        Self(
            path: .tag,
            method: .DELETE,
            summary: "Delete a tag; its manifest stays",
            parameters: [.condition],
            answer: "Deletion",
            errors: [400, 403, 404, 412]
        ),
        list(
            .manifests,
            of: "Manifest",
            "The manifests of a repository, in the order of their digests",
            details: """
                With `untagged=true` only those that no tag and no index names and that are about nothing that is there. \
                A page may then have fewer than `n` items, or none, and still have a `next`.
                """,
            parameters: [.untagged],
            errors: [404]
        ),
        Self(
            path: .manifest,
            method: .DELETE,
            summary: "Delete a manifest and the tags that name it",
            details: "Indexes that list it stay, and list it as missing.",
            parameters: [.condition],
            answer: "Deletion",
            errors: [400, 403, 404, 412]
        ),
    ]

    private static let deletedOperations = [
        list(
            .deleted,
            of: "Deleted",
            "The deleted tags and manifests of a repository that can be put back",
            details: "Tags in the order of their names, then manifests in the order in which they were deleted.",
            errors: [404]
        ),
        Self(
            path: .restore,
            method: .POST,
            summary: "Put back a deleted tag, manifest or repository",
            details: """
                A tag comes back with its manifest, and a manifest with those that it lists, those that are about it, and \
                the tags that were deleted with it. Without a `reference` the repository itself is put back.
                """,
            body: "Restoration",
            answer: "Restored",
            errors: [400, 404, 412, 413, 415]
        ),
    ]

    private static let holdOperations = [
        list(.holds, of: "Hold", "The holds of a repository, in the order in which they were set", errors: [404]),
        Self(
            path: .holds,
            method: .POST,
            summary: "Set a hold",
            details: """
                What it is on is deleted by no rule and by nobody, and a legal hold also keeps tags where they are. One of \
                the same kind on the same subject gets the new reason.
                """,
            body: "HoldRequest",
            answer: "Hold",
            errors: [400, 403, 404, 413, 415]
        ),
        Self(path: .hold, method: .DELETE, summary: "Release a hold", status: 204, answer: nil, errors: [400, 404]),
    ]

    private static let collectionOperations = [
        Self(
            path: .explanation,
            method: .GET,
            summary: "Why a manifest or a blob is alive in a repository, or since when it is not",
            answer: "Explanation",
            errors: [400, 404]
        ),
        Self(
            path: .explanationAnywhere,
            method: .GET,
            summary: "The same in all repositories, and when deleted bytes go",
            answer: "Explanation",
            errors: [400, 404]
        ),
        Self(
            path: .collection,
            method: .GET,
            summary: "How far behind the collector is, and what waits for it",
            answer: "CollectionStatus"
        ),
        Self(path: .document, method: .GET, summary: "This document", answer: "Document"),
    ]
}

/// A parameter that is not part of the path.
struct APIParameter: Sendable {
    let name: String
    var place = "query"
    let description: String
    let schema: JSONValue

    static let limit = Self(
        name: "n",
        description: "Most items of the page; a larger number counts as \(ManagementCall.maximumPage).",
        schema: ["type": "integer", "minimum": 1, "default": .integer(ManagementCall.usualPage)]
    )
    static let last = Self(
        name: "last",
        description: "Where the page begins; as in the `next` of the page before it.",
        schema: ["type": "string"]
    )
    static let untagged = Self(
        name: "untagged",
        description: "Whether manifests that have a name are left out.",
        schema: ["type": "boolean", "default": false]
    )
    static let condition = Self(
        name: "If-Match",
        place: "header",
        description: "The quoted digest that it must have, or else nothing is deleted.",
        schema: ["type": "string"]
    )
}
