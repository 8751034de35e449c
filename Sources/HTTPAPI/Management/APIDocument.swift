import NIOHTTP1

/// The management API's description of itself, made of the same table that its answers to wrong methods are made of.
/// Source: [OpenAPI 3.1.1](https://spec.openapis.org/oas/v3.1.1.html).
enum APIDocument {
    static let text = JSON.text(document)

    private static var document: JSONValue {
        [
            "openapi": "3.1.1",
            "info": [
                "title": "Strata's management API",
                "version": "1",
                "description": """
                Times are milliseconds since 1970, UTC. Lists come in pages: `next`, and a `Link` header with \
                `rel="next"`, lead to the next one. HEAD is answered wherever GET is.
                """,
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": "/"]],
            "paths": .object(paths),
            "components": ["schemas": .object(APISchemas.all)],
        ]
    }

    private static var paths: [String: JSONValue] {
        Dictionary(grouping: ManagementOperation.all, by: \.path.rawValue).mapValues { operations in
            .object(
                Dictionary(
                    operations.map { ($0.method.rawValue.lowercased(), operation($0)) },
                    uniquingKeysWith: { first, _ in first }
                )
            )
        }
    }

    private static func operation(_ operation: ManagementOperation) -> JSONValue {
        var done: [String: JSONValue] = ["description": "Done."]
        done["content"] = operation.answer.map {
            json(operation.isList ? APISchemas.page(of: $0) : APISchemas.reference(to: $0))
        }
        var responses: [String: JSONValue] = [
            "\(operation.status)": .object(done),
            "default": ["description": "The server failed.", "content": json(APISchemas.reference(to: "Errors"))],
        ]
        for status in operation.errors {
            responses["\(status)"] = [
                "description": .string(meaning(of: status)), "content": json(APISchemas.reference(to: "Errors")),
            ]
        }
        var described: [String: JSONValue] = [
            "operationId": "\(operation.method.rawValue.lowercased())_\(operation.path)",
            "summary": .string(operation.summary),
            "parameters": .array(parameters(of: operation)),
            "responses": .object(responses),
        ]
        described["description"] = operation.details.map { .string($0) }
        described["requestBody"] = operation.body.map {
            ["required": true, "content": json(APISchemas.reference(to: $0))]
        }
        return .object(described)
    }

    private static func parameters(of operation: ManagementOperation) -> [JSONValue] {
        let inPath = operation.path.rawValue.split(separator: "/").filter { $0.hasPrefix("{") }.map { parameter in
            let name = String(parameter.dropFirst().dropLast())
            return [
                "name": .string(name), "in": "path", "required": true, "schema": ["type": "string"],
                "description": .string(meaning(ofParameter: name)),
            ] as JSONValue
        }
        return inPath
            + operation.parameters.map {
                [
                    "name": .string($0.name), "in": .string($0.place), "description": .string($0.description),
                    "schema": $0.schema,
                ]
            }
    }

    private static func json(_ schema: JSONValue) -> JSONValue { ["application/json": ["schema": schema]] }

    private static func meaning(ofParameter name: String) -> String {
        switch name {
        case "name": "The name of a repository; its slashes may stand as they are."
        case "tag": "A tag."
        case "id": "The id of a hold."
        case "scope": "registry, namespace/PATH or repository/NAME; its slashes may stand as they are."
        default: "A digest, such as sha256:…"
        }
    }

    private static func meaning(of status: Int) -> String {
        switch status {
        case 400: "Something in the request is not well formed."
        case 403: "It is held or immutable, or there are too many holds."
        case 404: "There is no such thing."
        case 412: "Things are not as the request requires; nothing was changed."
        case 413: "The body is too large."
        default: "The body is not JSON, or does not say so."
        }
    }
}
