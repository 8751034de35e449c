"""What tests of the management API share: a client that holds every answer against the API's own document."""
import json
import re

import jsonschema
import pytest

API = "/api/v1"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="session")
def document(server):
    return server.request("GET", f"{API}/openapi.json").json()


@pytest.fixture
def api(server, document):
    """api(method, path, body) → Response, whose body is what the document says."""
    return lambda method, path, body=None, **headers: checked(server, document, method, path, body, headers)


def checked(server, document, method, path, body=None, headers=None):
    data = json.dumps(body).encode() if body is not None else None
    answer = server.request(method, path, data, (JSON if data else {}) | (headers or {}))
    template, operations = find(document, path)
    if template and method.lower() in operations:
        responses = operations[method.lower()]["responses"]
        assert str(answer.status) in responses, f"{method} {path}: {answer.status} is not in the document"
        if "content" not in responses[str(answer.status)]:
            assert answer.body == b""
            return answer
        schema = responses[str(answer.status)]["content"]["application/json"]["schema"]
        assert answer.headers["content-type"] == "application/json"
        validate(answer.json(), schema, document)
    return answer


def find(document, path):
    path = path.split("?")[0]
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\\\{(name|scope)\\\}", "(?:(?!-/)[^/]+/)*?(?!-)[^/]+", re.escape(template))
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", pattern), path):
            return template, operations
    return None, {}


def validate(value, schema, document):
    """Stricter than the document: it must name every field that there is."""
    def closed(part):
        if isinstance(part, list):
            return [closed(item) for item in part]
        if not isinstance(part, dict):
            return part
        own = {"additionalProperties": False} if "properties" in part else {}
        return own | {key: closed(item) for key, item in part.items()}

    whole = closed({**schema, "components": document["components"]})
    jsonschema.validate(value, whole, cls=jsonschema.Draft202012Validator)


def pages(api, path):
    """The items of all pages, each with another request."""
    items = []
    while path:
        answer = api("GET", path)
        assert answer.status == 200, answer
        page = answer.json()
        items += page["items"]
        path = page.get("next")
        assert ("link" in answer.headers) == (path is not None)
        if path:
            assert answer.headers["link"] == f'<{path}>; rel="next"'
    return items


def hold(api, repository, subject, kind="in-use", reason="runs in production"):
    answer = api("POST", f"{API}/repositories/{repository}/-/holds", dict(subject=subject, kind=kind, reason=reason))
    assert answer.status == 200, answer
    return answer.json()
