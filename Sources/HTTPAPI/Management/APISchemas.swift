/// What bodies and answers of the management API look like, by name.
enum APISchemas {
    static let all = content.merging(retention) { first, _ in first }

    private static let content: [String: JSONValue] = [
        "Repository": object(["name": name, "createdAt": time]),
        "DeletedRepository": object([
            "name": name, "createdAt": time, "deletedAt": time, "restorableUntil": time,
        ]),
        "Deletion": object(["restorableUntil": time]),
        "Tag": object(
            [
                "name": text, "digest": digest, "mediaType": text, "pushedAt": time,
                "pulls": integer("How often it was pulled by its name."),
                "pullsByDigest": integer("How often its manifest was pulled by the digest."),
            ],
            optional: ["pulledAt": time, "expiresAt": time]
        ),
        "Manifest": object(
            [
                "digest": digest, "mediaType": text, "size": integer("Bytes of the manifest itself."), "pushedAt": time,
                "keepUntil": time, "isTagged": flag("Whether a tag names it."),
                "isListed": flag("Whether an index of the repository lists it."),
                "hasSubject": flag("Whether the repository has the manifest that it is about."),
                "pulls": integer("How often it was pulled by its digest."),
            ],
            optional: ["artifactType": text, "subject": digest, "pulledAt": time]
        ),
        "Deleted": object(
            ["digest": digest, "deletedAt": time, "restorableUntil": time, "reason": text],
            optional: ["tag": text]
        ),
        "Restoration": closed(object([:], optional: ["reference": reference, "deletedAt": time])),
        "Restored": object(["repository": name], optional: ["tags": list(text), "manifests": list(digest)]),
        "HoldRequest": closed(object(["subject": subject, "kind": kind, "reason": reason])),
        "Hold": object([
            "id": integer("What it is released by."), "subject": subject, "kind": kind, "reason": reason,
            "createdAt": time,
        ]),
        "Explanation": explanation,
        "ExplainedManifest": object(explainedManifest.required, optional: explainedManifest.optional),
        "CollectionStatus": object([
            "lag": [
                "type": "object", "additionalProperties": ["type": "integer"],
                "description": "For how many milliseconds the oldest due entry of each queue has waited.",
            ],
            "oldestTrash": integer(
                "For how many milliseconds the oldest object could have been deleted, also one that the store refuses to delete."
            ),
            "pendingObjects": integer("Objects of deleted blobs that wait to be deleted."),
            "pendingBytes": integer("Their bytes."),
        ]),
        "Document": ["type": "object"],
        "Errors": object([
            "errors": list(
                object(
                    ["code": text, "message": text],
                    optional: ["detail": ["type": "object", "additionalProperties": ["type": "string"]]]
                )
            )
        ]),
    ]

    /// A manifest and what keeps it.
    private static let explainedManifest: (required: [String: JSONValue], optional: [String: JSONValue]) = (
        [
            "digest": digest, "keepUntil": time, "tags": list(text), "holds": list(text), "indexes": list(explained),
            "hasMore": flag("Whether more keeps it than is listed."),
        ],
        [
            "subject": explained,
            "untagged": object(["since": time], optional: ["rule": text, "removedAt": time, "bytesUntil": time]),
            "end": object(["removedAt": time, "bytesUntil": time]),
        ]
    )

    private static let explanation = object(
        [
            "askedAt": time,
            "manifests": list(
                object(
                    explainedManifest.required.merging(["repository": name]) { first, _ in first },
                    optional: explainedManifest.optional
                )
            ),
            "hasMoreManifests": flag("Whether more repositories have it as a manifest."),
            "deleted": list(
                object(
                    ["repository": name, "deletedAt": time, "restorableUntil": time, "reason": text],
                    optional: ["tag": text]
                )
            ),
            "hasMoreDeleted": flag("Whether more was deleted than is listed."),
            "trash": list(time),
        ],
        optional: [
            "blob": object(
                [
                    "size": integer("Bytes."),
                    "links": list(
                        object([
                            "repository": name, "leaseUntil": time, "manifests": list(explained),
                            "hasMoreManifests": flag("Whether more manifests list it."),
                            "deletedManifests": list(
                                object(["digest": digest, "deletedAt": time, "restorableUntil": time, "reason": text])
                            ),
                        ])
                    ),
                    "hasMoreLinks": flag("Whether more repositories hold it."),
                ],
                optional: ["bytesUntil": time]
            )
        ]
    )

    static func reference(to schema: String) -> JSONValue { ["$ref": "#/components/schemas/\(schema)"] }

    /// A page of a list of them.
    static func page(of schema: String) -> JSONValue {
        object(
            ["items": list(reference(to: schema))],
            optional: [
                "next": ["type": "string", "description": "The path and query of the next page, if there is one."]
            ]
        )
    }

    static let text: JSONValue = ["type": "string"]
    static let name: JSONValue = ["type": "string", "description": "The name of a repository."]
    static let digest: JSONValue = ["type": "string", "pattern": "^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$"]
    private static let reference: JSONValue = ["type": "string", "description": "A tag or a digest."]
    static let time: JSONValue = [
        "type": "integer", "format": "int64", "description": "Milliseconds since 1970, UTC.",
    ]
    private static let subject: JSONValue = [
        "type": "string", "description": "The digest of a manifest, or a pattern of tags as in retention policies.",
    ]
    private static let kind: JSONValue = ["type": "string", "enum": ["legal", "in-use"]]
    private static let reason: JSONValue = ["type": "string", "minLength": 1, "maxLength": 500]
    private static let explained = reference(to: "ExplainedManifest")

    static func integer(_ description: String) -> JSONValue {
        ["type": "integer", "format": "int64", "minimum": 0, "description": .string(description)]
    }

    static func flag(_ description: String) -> JSONValue {
        ["type": "boolean", "description": .string(description)]
    }

    static func list(_ item: JSONValue) -> JSONValue { ["type": "array", "items": item] }

    /// - Parameter required: fields that are always there.
    static func object(_ required: [String: JSONValue], optional: [String: JSONValue] = [:]) -> JSONValue {
        [
            "type": "object",
            "required": .array(required.keys.sorted().map { .string($0) }),
            "properties": .object(required.merging(optional) { first, _ in first }),
        ]
    }

    /// The same without room for fields that are not named.
    static func closed(_ schema: JSONValue) -> JSONValue {
        guard case .object(let fields) = schema else { return schema }
        return .object(fields.merging(["additionalProperties": false]) { first, _ in first })
    }
}
