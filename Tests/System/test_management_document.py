"""The management API's document and documentation tell the truth."""
import json
import os
import re
import subprocess

import jsonschema

from harness import ROOT, sha256
from management import API, document  # noqa: F401 (fixture)


VALUES = {"name": "no/such", "tag": "v1", "digest": sha256(b"x"), "id": "1", "scope": "registry"}


def test_every_documented_operation_is_answered_and_no_other(server, document):
    assert document["openapi"].startswith("3.1")
    for template, operations in document["paths"].items():
        path = re.sub(r"\{(\w+)\}", lambda parameter: VALUES[parameter[1]], template)
        documented = {method.upper() for method in operations}
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = server.request(method, path)
            assert (answer.status != 405) == (method in documented), f"{method} {template}: {answer}"
            if answer.status == 405:
                head = {"HEAD"} if "GET" in documented else set()
                assert set(answer.headers["allow"].split(", ")) == documented | head
            else:
                assert answer.status != 404 or "There is nothing at this path" not in answer.body.decode()
        if "GET" in documented:
            answer = server.request("HEAD", path)
            assert answer.status == server.request("GET", path).status and answer.body == b""


def test_the_document_is_whole(document):
    """Every reference leads somewhere, every schema is used and is one, every parameter of a path is described."""
    text = json.dumps(document)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert used == set(document["components"]["schemas"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    for template, operations in document["paths"].items():
        for operation in operations.values():
            described = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert described == re.findall(r"\{(\w+)\}", template)


def test_the_documentation_lists_every_operation(document):
    rows = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \| .+ \|$", (ROOT / "docs/api.md").read_text(), re.M)
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(method, API + path) for method, path in rows} == documented


# -- The examples of docs/api.md


def examples(text):
    """(command, answer) of every example, in order."""
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = example.splitlines()
            end = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
            yield "\n".join(lines[: end + 1]), "\n".join(lines[end + 1:])


def is_like(found, shown):
    """Equal, but for numbers and what the documentation leaves out with an ellipsis."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and found.keys() == shown.keys() and all(
            is_like(found[key], shown[key]) for key in shown
        )
    if isinstance(shown, list):
        return isinstance(found, list) and len(found) == len(shown) and all(map(is_like, found, shown))
    if isinstance(shown, str):
        return isinstance(found, str) and bool(re.fullmatch(re.escape(shown).replace("…", ".*"), found, re.S))
    return type(found) is type(shown) and (found == shown or not isinstance(shown, bool))


def test_the_examples_of_the_documentation_run(fresh):
    server = fresh()
    for number, (name, tag) in enumerate([("team/app", "v1"), ("team/app", "v2"), ("team/web", "latest")]):
        digest, _ = server.push_image(name, tag, config=json.dumps({"image": number}).encode())
    text = (ROOT / "docs/api.md").read_text()
    shown = list(examples(text))
    assert len(shown) > 10
    for command, answer in shown:
        done = subprocess.run(
            ["bash", "-c", command.replace("127.0.0.1:5000", server.host)],
            capture_output=True, text=True, env={**os.environ, "DIGEST": digest},
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if answer.strip():
            assert is_like(json.loads(done.stdout), json.loads(answer)), f"{command}\n{done.stdout}"
        else:
            assert done.stdout == "", command
