"""What a hold is on is deleted by nobody until it is released."""
import json
import subprocess

import pytest

from harness import BINARY, OCI_INDEX, OCI_MANIFEST, descriptor, sha256
from management import API, api, document, hold, pages  # noqa: F401 (fixtures)
from test_collection import strata


def test_a_held_manifest_and_its_tags_cannot_be_deleted_until_it_is_released(server, api, repository):
    digest, body = server.push_image(repository, "v1")
    held = hold(api, repository, digest)
    refusals = [
        server.request("DELETE", f"/v2/{repository}/manifests/{digest}"),
        server.request("DELETE", f"/v2/{repository}/manifests/v1"),
        api("DELETE", f"{API}/repositories/{repository}/-/tags/v1"),
        api("DELETE", f"{API}/repositories/{repository}/-/manifests/{digest}"),
        api("DELETE", f"{API}/repositories/{repository}"),
    ]
    for refusal in refusals:
        assert refusal.status == 403 and refusal.codes == ["DENIED"]
        error = refusal.json()["errors"][0]
        assert "There is an in-use hold" in error["message"] and "runs in production" in error["message"]
        assert error["detail"]["subject"] == digest
    (manifest,) = api("GET", f"{API}/repositories/{repository}/-/explain/{digest}").json()["manifests"]
    assert manifest["holds"] == [f"in-use hold on {digest}: runs in production"]
    assert api("DELETE", f"{API}/repositories/{repository}/-/holds/{held['id']}").status == 204
    assert api("DELETE", f"{API}/repositories/{repository}/-/holds/{held['id']}").codes == ["NOT_FOUND"]
    assert server.request("DELETE", f"/v2/{repository}/manifests/{digest}").status == 202


def test_a_hold_on_tags_is_on_what_they_name(server, api, repository):
    digest, _ = server.push_image(repository, "prod-1")
    other, _ = server.push_image(repository, "dev-1", config=b'{"dev":1}')
    hold(api, repository, "prod-*")
    base = f"{API}/repositories/{repository}/-"
    assert api("DELETE", f"{base}/tags/prod-1").status == 403
    assert api("DELETE", f"{base}/manifests/{digest}").status == 403
    assert api("DELETE", f"{base}/tags/dev-1").status == 200
    assert api("DELETE", f"{base}/manifests/{other}").status == 200


def test_a_held_index_keeps_the_manifests_that_it_lists(server, api, repository):
    child, child_bytes = server.push_image(repository, "child")
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(child_bytes, OCI_MANIFEST)]})
    outer = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(index.encode(), OCI_INDEX)]})
    server.push_manifest(repository, "inner", index.encode(), OCI_INDEX)
    server.push_manifest(repository, "outer", outer.encode(), OCI_INDEX)
    hold(api, repository, "/out.r/", kind="legal")
    for digest in (child, sha256(index.encode()), sha256(outer.encode())):
        assert api("DELETE", f"{API}/repositories/{repository}/-/manifests/{digest}").status == 403
    assert api("DELETE", f"{API}/repositories/{repository}/-/tags/child").status == 200


def test_pushes_move_a_tag_in_use_but_none_under_a_legal_hold(server, api, repository):
    _, body = server.push_image(repository, "v1")
    _, other = server.push_image(repository, "v2", config=b'{"other":1}')
    held = hold(api, repository, "v1")
    assert server.push_manifest(repository, "v1", other).status == 201
    hold(api, repository, "v1", kind="legal", reason="case 7")
    refused = server.push_manifest(repository, "v1", body)
    assert refused.status == 403 and refused.codes == ["DENIED"] and "case 7" in refused.body.decode()
    assert server.push_manifest(repository, "v1", other).status == 201, "it stays where it is"
    assert server.push_manifest(repository, "v2", body).status == 201


def test_holds_are_listed_and_get_new_reasons(server, api, repository):
    server.push_image(repository, "v1")
    first = hold(api, repository, "v*")
    again = hold(api, repository, "v*", reason="runs elsewhere, too")
    assert again == first | {"reason": "runs elsewhere, too"}
    second = hold(api, repository, "v*", kind="legal")
    third = hold(api, repository, "w*")
    assert pages(api, f"{API}/repositories/{repository}/-/holds?n=1") == [again, second, third]


def test_holds_are_set_listed_and_released_on_the_command_line_too(server, api, repository):
    server.push_image(repository, "prod-1")
    said = strata(server, "hold", "set", repository, "prod-*", "--reason", "runs in production")
    assert "in-use hold on prod-*: runs in production" in said
    legal = json.loads(strata(server, "hold", "set", repository, "v*", "--kind", "legal", "--reason", "case 7", "--json"))
    assert server.request("DELETE", f"/v2/{repository}/manifests/prod-1").status == 403
    listed = [json.loads(line) for line in strata(server, "hold", "list", repository, "--json").splitlines()]
    assert listed[1] == legal and listed == pages(api, f"{API}/repositories/{repository}/-/holds")
    strata(server, "hold", "release", repository, str(listed[0]["id"]))
    assert server.request("DELETE", f"/v2/{repository}/manifests/prod-1").status == 202
    assert strata(server, "hold", "list", repository).splitlines() == [f"{legal['id']}: legal hold on v*: case 7"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["set", "NAME", "v*", "--reason", ""], "Give a reason"),
        (["set", "NAME", "v*", "--kind", "other", "--reason", "r"], "'in-use'"),
        (["set", "NAME", "a b", "--reason", "r"], "a b"),
        (["set", "NAME", sha256(b"nothing"), "--reason", "r"], sha256(b"nothing")),
        (["set", "nobody/nothing", "v*", "--reason", "r"], "nobody/nothing"),
        (["release", "NAME", "99999"], "no hold 99999"),
    ],
)
def test_the_command_line_says_why_a_hold_cannot_be(server, repository, arguments, told):
    server.push_image(repository, "v1")
    arguments = [repository if argument == "NAME" else argument for argument in arguments]
    done = subprocess.run([BINARY, "hold", *arguments, *server.options], capture_output=True, text=True)
    assert done.returncode != 0 and told in done.stderr, done.stderr


@pytest.mark.parametrize(
    "body, told",
    [
        ({"kind": "legal", "reason": "r"}, "'subject' is missing"),
        ({"subject": "v*", "kind": "other", "reason": "r"}, "legal or in-use"),
        ({"subject": "v*", "kind": "legal", "reason": ""}, "Give a reason"),
        ({"subject": "v*", "kind": "legal", "reason": "x" * 501}, "Give a reason"),
        ({"subject": "a b", "kind": "legal", "reason": "r"}, "not a pattern"),
        ({"subject": "sha256:1", "kind": "legal", "reason": "r"}, "not a digest"),
        ({"subject": "v*", "kind": "legal", "reason": "r", "until": 1}, "no field 'until'"),
    ],
)
def test_holds_are_checked(server, api, repository, body, told):
    server.push_image(repository, "v1")
    answer = api("POST", f"{API}/repositories/{repository}/-/holds", body)
    assert answer.status == 400 and told in answer.json()["errors"][0]["message"]


def test_there_is_no_hold_on_what_is_not_there(server, api, repository):
    body = {"subject": sha256(b"nothing"), "kind": "legal", "reason": "r"}
    path = f"{API}/repositories/{repository}/-/holds"
    assert api("POST", path, body).codes == ["NAME_UNKNOWN"]
    server.push_image(repository, "v1")
    assert api("POST", path, body).codes == ["MANIFEST_UNKNOWN"]
