import NIOHTTP1

extension ManagementOperation {
    static let retentionOperations =
        policyOperations + [
            Self(
                path: .retentionPreview,
                method: .POST,
                summary: "What the policies would delete in a repository now",
                details: """
                    Changes nothing. Tags in the order of their names, then manifests without a name in the order of their \
                    digests; each page is of a plan of its own. With a `policy`, it is tried in the place of the one that its \
                    scope has; without a `scope` that is the repository's own.
                    """,
                parameters: [.limit, .last],
                body: "Trial",
                answer: "RetentionPreview",
                errors: [400, 404, 413, 415]
            ),
            Self(
                path: .retentionApplication,
                method: .POST,
                summary: "Delete now what the policies say of a repository",
                details: """
                    What it deletes can be put back until its bytes are due. It stops with 412 once a policy, a hold or a tag \
                    that was to be kept has changed under it, and says how many tags it had deleted by then.
                    """,
                body: "Nothing",
                answer: "RetentionRun",
                errors: [400, 404, 412, 413, 415]
            ),
            list(
                .retentionHistory,
                of: "RetentionRun",
                "What the policies deleted in a repository, the newest run first",
                details: "Runs that deleted nothing are left out."
            ),
        ]

    private static let policyOperations = [
        list(.policies, of: "PolicyVersion", "The policies that hold, in the order of their scopes"),
        Self(
            path: .policy,
            method: .GET,
            summary: "The policy of a scope: the document itself",
            details: "Its version is the entity tag.",
            answer: "RetentionPolicy",
            errors: [400, 404]
        ),
        Self(
            path: .policy,
            method: .PUT,
            summary: "Set the policy of a scope",
            parameters: [.version, .absence],
            body: "RetentionPolicy",
            answer: "PolicyVersion",
            errors: [400, 412, 413, 415]
        ),
        Self(
            path: .policy,
            method: .DELETE,
            summary: "Remove the policy of a scope",
            details: "Its versions stay.",
            parameters: [.version],
            status: 204,
            answer: nil,
            errors: [400, 404, 412]
        ),
        list(
            .policyVersions,
            of: "PolicyVersion",
            "All versions of a scope's policy, the newest first",
            details: "A version without a `policy` is the removal of the one before."
        ),
    ]
}

extension APIParameter {
    fileprivate static let version = Self(
        name: "If-Match",
        place: "header",
        description: "The quoted version that must hold, or `*` for any; else nothing is changed.",
        schema: ["type": "string"]
    )
    fileprivate static let absence = Self(
        name: "If-None-Match",
        place: "header",
        description: "`*`: there must be no policy of the scope yet.",
        schema: ["type": "string"]
    )
}
