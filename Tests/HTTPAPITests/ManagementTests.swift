import NIOHTTP1
import Testing

@testable import HTTPAPI

@Suite("Management API routes")
struct ManagementRouteTests {
    @Test(
        "find the repository's name, whatever it holds",
        arguments: [
            ("/api/v1/repositories", ManagementPath.repositories, [:]),
            ("/api/v1/repositories/a", .repository, ["name": "a"]),
            ("/api/v1/repositories/a/tags/restore", .repository, ["name": "a/tags/restore"]),
            ("/api/v1/repositories/a/b/-/tags", .tags, ["name": "a/b"]),
            ("/api/v1/repositories/repositories/-/tags/v1", .tag, ["name": "repositories", "tag": "v1"]),
            ("/api/v1/repositories/a--b/-/explain/d", .explanation, ["name": "a--b", "digest": "d"]),
            ("/api/v1/explain/d", .explanationAnywhere, ["digest": "d"]),
        ]
    )
    func finds(_ text: String, _ path: ManagementPath, _ values: [String: String]) {
        let route = ManagementRoute(path: text)
        #expect(route?.path == path)
        #expect(route?.values == values)
    }

    @Test(
        "refuse what is none",
        arguments: [
            "/", "/api/v1", "/api/v1/", "/api/v1/x", "/api/v2/repositories", "/api/v1/repositories/",
            "/api/v1/repositories/-/tags", "/api/v1/repositories/a/-", "/api/v1/repositories/a/-/",
            "/api/v1/repositories/a/-/tags/", "/api/v1/repositories/a/-/tags/v1/x", "/api/v1/repositories/a//b",
            "/api/v1/explain", "/api/v1/explain/a/b",
        ]
    )
    func refuses(_ path: String) { #expect(ManagementRoute(path: path) == nil) }

    @Test("have an operation each, and each operation once", arguments: ManagementPath.allCases)
    func operations(_ path: ManagementPath) {
        let methods = ManagementOperation.all.filter { $0.path == path }.map(\.method)
        #expect(!methods.isEmpty)
        #expect(Set(methods.map(\.rawValue)).count == methods.count)
        #expect(ManagementRoute(path: path.rawValue)?.path == path, "a template is a path of its own route")
    }

    @Test("say in an Allow header what the document says, and HEAD where there is GET")
    func allow() {
        #expect(ManagementRoute(path: "/api/v1/repositories/a")?.methods == "GET, HEAD, DELETE")
        #expect(ManagementRoute(path: "/api/v1/repositories/a/-/restore")?.methods == "POST")
    }

    @Test("name only schemas that there are")
    func schemas() {
        for operation in ManagementOperation.all {
            #expect(operation.answer.map { APISchemas.all[$0] != nil } ?? true)
            #expect(operation.body.map { APISchemas.all[$0] != nil } ?? true)
        }
    }
}
