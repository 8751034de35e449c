"""The management API: what it shows is so, and what it deletes can be put back."""
import json
import subprocess

import pytest

from harness import BINARY, OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256
from management import API, JSON, api, checked, document, pages  # noqa: F401 (fixtures)
from test_collection import strata


# -- What is there


def test_repositories_are_listed_page_by_page(server, api, repository):
    names = [f"{repository}/{part}" for part in ("a", "b", "c")]
    for name in names:
        server.push_image(name, "v1")
    listed = [item["name"] for item in pages(api, f"{API}/repositories?n=2")]
    assert [name for name in listed if name in names] == names
    assert listed == sorted(listed)
    one = api("GET", f"{API}/repositories/{names[0]}")
    assert one.status == 200 and one.json()["name"] == names[0] and one.json()["createdAt"] > 1_700_000_000_000


def test_a_repository_whose_name_is_like_a_path_of_the_api_is_one(server, api, repository):
    name = f"{repository}/tags/deleted/manifests"
    server.push_image(name, "v1")
    assert api("GET", f"{API}/repositories/{name}").json()["name"] == name
    assert [item["name"] for item in pages(api, f"{API}/repositories/{name}/-/tags")] == ["v1"]
    quoted = name.replace("/", "%2F")
    assert [item["name"] for item in pages(api, f"{API}/repositories/{quoted}/-/tags")] == ["v1"]


def test_tags_are_listed_with_what_they_name(server, api, repository):
    first, _ = server.push_image(repository, "v1", config=b'{"a":1}')
    second, _ = server.push_image(repository, "v2", config=b'{"a":2}')
    server.push_manifest(repository, "latest", server.request("GET", f"/v2/{repository}/manifests/v2").body)
    tags = pages(api, f"{API}/repositories/{repository}/-/tags?n=1")
    assert [(tag["name"], tag["digest"]) for tag in tags] == [("latest", second), ("v1", first), ("v2", second)]
    assert all(tag["mediaType"] == OCI_MANIFEST and "pulledAt" not in tag for tag in tags)
    assert tags[1]["pushedAt"] <= tags[2]["pushedAt"] <= tags[0]["pushedAt"]


def test_a_tag_says_how_often_and_when_it_was_pulled(fresh):
    server = fresh()
    server.push_image("team/app", "v1")
    server.push_image("team/app", "v2")
    for _ in range(3):
        assert server.request("GET", "/v2/team/app/manifests/v1").status == 200
    server.stop()
    server.start()
    pulled, other = server.request("GET", f"{API}/repositories/team/app/-/tags").json()["items"]
    assert pulled["pulls"] == 3 and pulled["pulledAt"] >= pulled["pushedAt"]
    assert other["pulls"] == 0 and "pulledAt" not in other


def test_a_pull_by_digest_is_shown_for_the_manifest_and_for_each_tag_that_names_it(fresh):
    """As most clients pull: they resolve the tag, and get what it names by its digest."""
    server = fresh()
    digest, body = server.push_image("team/app", "v1")
    server.push_manifest("team/app", "latest", body)
    for method, reference in [("HEAD", "v1"), ("GET", digest), ("GET", digest)]:
        assert server.request(method, f"/v2/team/app/manifests/{reference}").status == 200
    server.stop()
    server.start()
    document = server.request("GET", f"{API}/openapi.json").json()
    latest, v1 = checked(server, document, "GET", f"{API}/repositories/team/app/-/tags").json()["items"]
    (manifest,) = checked(server, document, "GET", f"{API}/repositories/team/app/-/manifests").json()["items"]
    assert manifest["pulls"] == 2
    for tag in latest, v1:
        assert tag["pulls"] == 0 and tag["pullsByDigest"] == 2 and tag["pulledAt"] >= manifest["pulledAt"]


def test_manifests_say_what_names_them(server, api, repository):
    child, child_bytes = server.push_image(repository, sha256_of_image(b'{"c":1}'), config=b'{"c":1}')
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(child_bytes, OCI_MANIFEST)]})
    server.push_manifest(repository, "multi", index.encode(), OCI_INDEX)
    subject = descriptor(index.encode(), OCI_INDEX)
    about, _ = server.push_image(
        repository, sha256_of_image(b'{"c":2}', subject=subject), config=b'{"c":2}', subject=subject
    )
    alone, _ = server.push_image(repository, sha256_of_image(b'{"c":3}'), config=b'{"c":3}')
    found = {item["digest"]: item for item in pages(api, f"{API}/repositories/{repository}/-/manifests?n=2")}
    flags = {d: (m["isTagged"], m["isListed"], m["hasSubject"]) for d, m in found.items()}
    assert flags == {
        child: (False, True, False), sha256(index.encode()): (True, False, False), about: (False, False, True),
        alone: (False, False, False),
    }
    assert found[about]["subject"] == sha256(index.encode()) and found[child]["size"] == len(child_bytes)
    untagged = pages(api, f"{API}/repositories/{repository}/-/manifests?untagged=true&n=1")
    assert [item["digest"] for item in untagged] == [alone]


def sha256_of_image(config, **extra):
    return sha256(json.dumps(image_manifest(config, (b"layer",), **extra)).encode())


# -- Deletion and what undoes it


def test_a_deleted_repository_is_gone_at_once_and_comes_back_whole(server, api, repository):
    digest, body = server.push_image(repository, "v1")
    deleted = api("DELETE", f"{API}/repositories/{repository}")
    assert deleted.status == 200
    assert server.request("GET", f"/v2/{repository}/manifests/v1").status == 404
    assert api("GET", f"{API}/repositories/{repository}").codes == ["NAME_UNKNOWN"]
    assert api("DELETE", f"{API}/repositories/{repository}").status == 404
    (entry,) = [item for item in pages(api, f"{API}/deleted-repositories?n=1") if item["name"] == repository]
    assert entry["restorableUntil"] == deleted.json()["restorableUntil"] > entry["deletedAt"] >= entry["createdAt"]
    restored = api("POST", f"{API}/repositories/{repository}/-/restore", {})
    assert restored.status == 200 and restored.json() == {"repository": repository}
    assert server.request("GET", f"/v2/{repository}/manifests/v1").body == body
    assert api("POST", f"{API}/repositories/{repository}/-/restore", {}).codes == ["NAME_UNKNOWN"]


def test_an_old_repository_does_not_come_back_over_a_new_one(server, api, repository):
    server.push_image(repository, "old")
    assert api("DELETE", f"{API}/repositories/{repository}").status == 200
    server.push_image(repository, "new")
    restore = f"{API}/repositories/{repository}/-/restore"
    refused = api("POST", restore, {})
    assert refused.status == 412
    # Of two deleted ones of a name the last comes back, unless somebody says which.
    assert api("DELETE", f"{API}/repositories/{repository}").status == 200
    deleted = [i for i in pages(api, f"{API}/deleted-repositories?n=1") if i["name"] == repository]
    assert len(deleted) == 2 and refused.json()["errors"][0]["detail"] == {"deletedAt": str(deleted[0]["deletedAt"])}
    assert api("POST", restore, {}).status == 200
    assert [item["name"] for item in pages(api, f"{API}/repositories/{repository}/-/tags")] == ["new"]
    assert api("DELETE", f"{API}/repositories/{repository}").status == 200
    assert api("POST", restore, {"deletedAt": 1}).status == 404
    assert api("POST", restore, {"deletedAt": 1, "reference": "v1"}).status == 400
    assert api("POST", restore, {"deletedAt": deleted[0]["deletedAt"]}).status == 200
    assert [item["name"] for item in pages(api, f"{API}/repositories/{repository}/-/tags")] == ["old"]


def test_a_deleted_tag_and_a_deleted_manifest_come_back(server, api, repository):
    digest, body = server.push_image(repository, "v1")
    for tag in ("a", "b"):
        server.push_manifest(repository, tag, body)
    base = f"{API}/repositories/{repository}/-"
    assert api("DELETE", f"{base}/tags/a").status == 200
    assert api("DELETE", f"{base}/tags/a").codes == ["MANIFEST_UNKNOWN"]
    assert api("DELETE", f"{base}/manifests/{digest}").status == 200
    assert server.request("GET", f"/v2/{repository}/manifests/{digest}").status == 404
    deleted = pages(api, f"{base}/deleted?n=1")
    assert [(item.get("tag"), item["digest"]) for item in deleted] == [
        ("a", digest), ("b", digest), ("v1", digest), (None, digest),
    ]
    assert {item["reason"] for item in deleted} == {"deleted by request"}
    back = api("POST", f"{base}/restore", {"reference": digest})
    assert back.status == 200 and back.json() == {"repository": repository, "tags": ["b", "v1"], "manifests": [digest]}
    assert api("POST", f"{base}/restore", {"reference": "a"}).json()["tags"] == ["a"]
    assert server.request("GET", f"/v2/{repository}/manifests/a").body == body
    assert pages(api, f"{base}/deleted") == []
    assert api("POST", f"{base}/restore", {"reference": "a"}).status == 412
    assert api("POST", f"{base}/restore", {"reference": "never"}).codes == ["MANIFEST_UNKNOWN"]


def test_a_deletion_can_depend_on_what_is_deleted(server, api, repository):
    digest, _ = server.push_image(repository, "v1")
    path = f"{API}/repositories/{repository}/-/tags/v1"
    assert api("DELETE", path, **{"If-Match": f'"{sha256(b"other")}"'}).status == 412
    for empty in ("If-Match", "If-None-Match"):
        assert api("DELETE", path, **{empty: ""}).codes == ["REQUEST_INVALID"]
    assert api("DELETE", path, **{"If-Match": f'"{digest}"'}).status == 200


def test_undelete_does_the_same_on_the_command_line(server, repository):
    digest, body = server.push_image(repository, "v1")
    assert server.request("DELETE", f"/v2/{repository}/manifests/{digest}").status == 202
    listed = strata(server, "undelete", "--list", repository)
    assert f"the tag v1 of {digest}, until" in listed and f"the manifest {digest}, until" in listed
    entries = [json.loads(line) for line in strata(server, "undelete", "--json", "--list", repository).splitlines()]
    assert [entry.get("tag") for entry in entries] == ["v1", None]
    assert strata(server, "undelete", repository, "v1") == f"put back the tag v1\nput back the manifest {digest}\n"
    assert server.request("GET", f"/v2/{repository}/manifests/v1").body == body
    assert strata(server, "undelete", "--list", repository) == ""
    assert server.request("DELETE", f"{API}/repositories/{repository}").status == 200
    listed = strata(server, "undelete", "--list").splitlines()
    found = next(line for line in listed if line.startswith(f"the repository {repository}, deleted at "))
    time = found.split()[5].rstrip(",")
    assert json.loads(strata(server, "undelete", "--json", repository, "--deleted-at", time)) == {"repository": repository}
    assert server.request("GET", f"/v2/{repository}/manifests/v1").body == body


def test_a_tag_is_listed_while_its_manifest_is_there(fresh, stores):
    server = fresh(gc__enabled="false")
    digest, _ = server.push_image("team/app", "v1")
    assert server.request("DELETE", "/v2/team/app/manifests/v1").status == 202
    assert server.stop() == 0
    stores.sql(server, "UPDATE deleted_tag SET restorable_until = deleted_at - 1")
    assert f"the tag v1 of {digest}, until" in strata(server, "undelete", "--list", "team/app")
    assert strata(server, "undelete", "team/app", "v1") == "put back the tag v1\n"


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((), "Say which repository"),
        (("--list", "a", "b"), "at most"),
        (("UPPER",), "not a repository name"),
        (("a", "sha256:1"), "not a digest"),
        (("no/such",), "No repository no/such can be put back"),
    ],
)
def test_undelete_says_what_is_wrong(server, arguments, told):
    done = subprocess.run([BINARY, "undelete", *arguments, *server.options], capture_output=True, text=True)
    assert done.returncode != 0 and told in done.stderr, done


# -- Explanations


def test_a_repository_is_told_only_its_own_reasons(server, api, repository):
    layer = f"layer of {repository}".encode()
    digest, _ = server.push_image(f"{repository}/a", "v1", layers=[layer], config=b'{"of":"a"}')
    server.push_image(f"{repository}/b", "v2", layers=[layer], config=b'{"of":"b"}')
    blob = sha256(layer)
    everywhere = api("GET", f"{API}/explain/{blob}").json()
    assert {link["repository"] for link in everywhere["blob"]["links"]} == {f"{repository}/a", f"{repository}/b"}
    own = api("GET", f"{API}/repositories/{repository}/a/-/explain/{blob}").json()
    (link,) = own["blob"]["links"]
    assert link["repository"] == f"{repository}/a" and link["manifests"][0]["tags"] == ["v1"]
    server.push_image(f"{repository}/c", "v1", layers=[b"other"])
    assert api("GET", f"{API}/repositories/{repository}/c/-/explain/{blob}").codes == ["NOT_FOUND"]
    assert api("GET", f"{API}/explain/{sha256(b'nothing at all')}").codes == ["NOT_FOUND"]
    (manifest,) = api("GET", f"{API}/explain/{digest}").json()["manifests"]
    assert manifest["tags"] == ["v1"] and manifest["repository"] == f"{repository}/a"


def test_the_collector_says_how_far_behind_it_is(api):
    status = api("GET", f"{API}/gc")
    assert status.status == 200 and status.json()["lag"]["blobs"] >= 0


# -- What is refused


@pytest.mark.parametrize(
    "method, path, code",
    [
        ("GET", "/repositories?n=0", "PAGINATION_NUMBER_INVALID"),
        ("GET", "/repositories?n=x", "PAGINATION_NUMBER_INVALID"),
        ("GET", "/repositories/UPPER", "NAME_INVALID"),
        ("GET", "/repositories/no/such", "NAME_UNKNOWN"),
        ("GET", "/repositories/no/such/-/tags", "NAME_UNKNOWN"),
        ("GET", "/repositories/no/such/-/manifests?last=x", "DIGEST_INVALID"),
        ("GET", "/repositories/no/such/-/manifests?untagged=1", "REQUEST_INVALID"),
        ("GET", "/repositories/no/such/-/deleted?last=x", "REQUEST_INVALID"),
        ("GET", "/repositories/no/such/-/deleted", "NAME_UNKNOWN"),
        ("GET", "/explain/sha256:1", "DIGEST_INVALID"),
        ("DELETE", "/repositories/no/such", "NAME_UNKNOWN"),
        ("DELETE", "/repositories/no/such/-/tags/v1", "MANIFEST_UNKNOWN"),
        ("DELETE", "/repositories/no/such/-/manifests/x", "DIGEST_INVALID"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(api, method, path, code):
    answer = api(method, f"{API}{path}")
    assert 400 <= answer.status < 500 and answer.codes == [code]
    assert answer.json()["errors"][0]["message"].endswith(".")


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/repositories/", "/repositories/a/-/", "/repositories/a/-/x"])
def test_there_is_nothing_at_other_paths(server, path):
    answer = server.request("GET", API + path)
    assert answer.status == 404 and answer.codes == ["NOT_FOUND"]


@pytest.mark.parametrize(
    "body, told",
    [
        (b'{"reference":"v1","force":true}', "no field 'force'"),
        (b'{"reference":5}', "wrong kind"),
        (b"[]", "must be a JSON object"),
        (b"{", "line 1, column 2"),
        (b"", "is not JSON"),
        (b'{"reference":"v1","reference":"v2"}', "reference"),
        (b'{"reference":"not a tag"}', "not a tag"),
        (b'{"reference":"sha256:1"}', "not a digest"),
    ],
)
def test_bodies_are_checked(server, repository, body, told):
    server.push_image(repository, "v1")
    answer = server.request("POST", f"{API}/repositories/{repository}/-/restore", body, JSON)
    assert answer.status == 400 and told in answer.json()["errors"][0]["message"]


def test_bodies_have_a_limit_and_a_media_type(server, repository):
    path = f"{API}/repositories/{repository}/-/restore"
    large = server.request("POST", path, b" " * 70_000, JSON)
    assert large.status == 413 and large.codes == ["BODY_TOO_LARGE"]
    endless = server.request("POST", path, iter([b" " * 40_000] * 3), JSON, chunked=True)
    assert endless.status == 413
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = server.request("POST", path, b"{}", headers)
        assert answer.status == 415 and answer.codes == ["MEDIA_TYPE_UNSUPPORTED"]
