extension APISchemas {
    static let retention: [String: JSONValue] = [
        "RetentionPolicy": [
            "type": "object", "required": ["version"],
            "properties": ["version": ["const": 1], "immutable": list(text), "rules": list(["type": "object"])],
            "additionalProperties": false, "description": "docs/retention.md says what it means.",
        ],
        "PolicyVersion": object(
            ["scope": text, "version": integer("One more with every change."), "createdAt": time],
            optional: ["policy": reference(to: "RetentionPolicy")]
        ),
        "Nothing": closed(object([:])),
        "Trial": closed(object([:], optional: ["policy": reference(to: "RetentionPolicy"), "scope": text])),
        "RetentionPreview": object(
            [
                "repository": name, "madeAt": time, "policies": policies, "items": list(reference(to: "Verdict")),
                "freed": object([
                    "manifests": integer("Manifests that go with what is deleted."),
                    "blobs": integer("Blobs that nothing else lists, in any repository."),
                    "bytes": integer("Of these manifests and blobs."),
                ]),
            ],
            optional: ["next": text]
        ),
        "Verdict": object(
            [
                "digest": digest, "decision": ["type": "string", "enum": ["keep", "delete"]],
                "keptBy": list(text), "deletedBy": list(text),
            ],
            optional: [
                "tag": text, "pushedAt": time, "pulledAt": time, "since": time, "deletedFrom": time,
            ]
        ),
        "RetentionRun": object(
            [
                "repository": name, "startedAt": time, "cause": ["type": "string", "enum": ["schedule", "request"]],
                "policies": policies, "tags": integer("Tags that were deleted."),
                "manifests": integer("Manifests without a name that were let go of."),
                "bytes": integer("What its plan said would be freed; 0 if it was stopped half way."),
            ],
            optional: ["id": integer("Not there if nothing was deleted.")]
        ),
    ]

    private static let policies: JSONValue = [
        "type": "array", "items": text, "description": "Those that held, each as `scope@version`.",
    ]
}
