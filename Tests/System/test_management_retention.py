"""Retention over the management API: policies with versions, what they would delete, what they did."""
import json

import pytest

from management import API, JSON, api, document, hold, pages  # noqa: F401 (fixtures)

KEEP_ONE = {"version": 1, "rules": [{"keep": "last", "count": 1, "by": "pushed"}, {"delete": "rest"}]}
KEEP_ALL = {"version": 1, "rules": [{"keep": "always"}]}


def policy_path(scope):
    return f"{API}/retention/policies/{scope}"


def verdicts(api, repository, body, n=100):
    """What a preview says of each tag and untagged manifest, page by page, and the last page."""
    path, found = f"{API}/repositories/{repository}/-/retention/preview?n={n}", {}
    while path:
        answer = api("POST", path, body)
        assert answer.status == 200, answer
        page = answer.json()
        assert len(page["items"]) <= n
        found |= {item.get("tag", item["digest"]): item for item in page["items"]}
        path = page.get("next")
    return found, page


def tags(api, repository):
    return [item["name"] for item in pages(api, f"{API}/repositories/{repository}/-/tags")]


# -- Policies


def test_a_policy_has_versions_and_changes_only_from_the_one_that_is_known(api, repository):
    path = policy_path(f"repository/{repository}")
    assert api("GET", path).codes == ["NOT_FOUND"]
    first = api("PUT", path, KEEP_ALL, **{"If-None-Match": "*"})
    assert first.status == 200 and first.headers["etag"] == '"1"'
    assert first.json() | {"createdAt": 0} == {
        "scope": f"repository/{repository}", "version": 1, "createdAt": 0, "policy": KEEP_ALL,
    }
    assert api("PUT", path, KEEP_ONE, **{"If-None-Match": "*"}).codes == ["PRECONDITION_FAILED"]
    second = api("PUT", path, KEEP_ONE, **{"If-Match": '"1"'})
    assert second.status == 200 and second.headers["etag"] == '"2"'
    overtaken = api("PUT", path, KEEP_ALL, **{"If-Match": '"1"'})
    assert overtaken.status == 412 and overtaken.json()["errors"][0]["detail"]["version"] == "2"
    assert api("PUT", path, KEEP_ALL, **{"If-Match": '"x"'}).status == 412
    found = api("GET", path)
    assert found.json() == KEEP_ONE and found.headers["etag"] == '"2"'
    assert api("DELETE", path, **{"If-Match": '"1"'}).status == 412
    assert api("DELETE", path, **{"If-Match": '"2"'}).status == 204
    assert api("DELETE", path).status == 404 and api("GET", path).status == 404
    assert api("PUT", path, KEEP_ALL, **{"If-Match": "*"}).status == 412
    assert api("PUT", path, KEEP_ALL).json()["version"] == 4
    assert api("PUT", path, KEEP_ONE, **{"If-Match": "*"}).json()["version"] == 5
    versions = pages(api, f"{path}/-/versions?n=2")
    assert [(item["version"], item.get("policy")) for item in versions] == [
        (5, KEEP_ONE), (4, KEEP_ALL), (3, None), (2, KEEP_ONE), (1, KEEP_ALL),
    ]
    assert api("DELETE", path).status == 204


def test_what_is_got_can_be_sent_back(server, repository):
    path = policy_path(f"namespace/{repository}")
    document = {"version": 1, "immutable": ["v*"], "rules": [{"name": "a \"b\" / ü", "keep": "always", "tags": ["/x{2}/"]}]}
    assert server.request("PUT", path, json.dumps(document).encode(), JSON).status == 200
    found = server.request("GET", path)
    assert found.json() == document
    again = server.request("PUT", path, found.body, JSON | {"If-Match": found.headers["etag"]})
    assert again.status == 200 and again.json()["policy"] == document
    assert server.request("DELETE", path).status == 204


def test_policies_of_all_scopes_are_listed(api, repository):
    scopes = [f"namespace/{repository}", f"repository/{repository}/a", f"repository/{repository}/b"]
    for scope in scopes:
        assert api("PUT", policy_path(scope), KEEP_ALL).status == 200
    listed = [item["scope"] for item in pages(api, f"{API}/retention/policies?n=1")]
    assert [scope for scope in listed if scope in scopes] == scopes
    for scope in scopes:
        assert api("DELETE", policy_path(scope)).status == 204
    assert not set(scopes) & {item["scope"] for item in pages(api, f"{API}/retention/policies")}


@pytest.mark.parametrize("scope", ["other", "registry/x", "namespace/UPPER", "repository/a b"])
def test_a_scope_is_one_of_three(api, scope):
    answer = api("GET", policy_path(scope.replace(" ", "%20")))
    assert answer.status == 400 and "is not a scope" in answer.json()["errors"][0]["message"]


def test_a_policy_is_told_everything_that_is_wrong_with_it(server, api, repository):
    bad = {"version": 1, "rules": [{"keep": "last", "count": 0, "by": "pushed"}, {"delete": "old"}], "other": 1}
    answer = api("PUT", policy_path(f"repository/{repository}"), bad)
    assert answer.status == 400 and set(answer.codes) == {"REQUEST_INVALID"}
    paths = {error.get("detail", {}).get("path") for error in answer.json()["errors"]}
    assert {"rules[0].count", "rules[1].days"} <= paths and len(answer.codes) == 3
    twice = server.request("PUT", policy_path("registry"), b'{"version":1,"version":1}', JSON)
    assert twice.status == 400 and "version" in twice.json()["errors"][0]["message"]


ODD = [b'{"version":1.0}', b'{"version":1,"version":1}', b'{"version":1},', b'\xef\xbb\xbf{"version":1}',
       b'{"version":1,"rules":[{"delete":"old","days":1e2}]}', b'{"version":1,"rules":[{"keep":"always","name":"\\ud800"}]}']


@pytest.mark.parametrize("document", ODD)
def test_what_cannot_be_set_cannot_be_tried(server, repository, document):
    server.push_image(repository, "v1")
    refused = server.request("PUT", policy_path(f"repository/{repository}"), document, JSON)
    tried = b'{"policy":' + document + b"}"
    answer = server.request("POST", f"{API}/repositories/{repository}/-/retention/preview", tried, JSON)
    assert (refused.status, answer.status) == (400, 400) and answer.codes == ["REQUEST_INVALID"], answer


def test_the_largest_policy_can_be_tried(server, api, repository):
    server.push_image(repository, "v1")
    rule = {"keep": "always", "tags": ["t" * 128] * 100}
    policy = {"version": 1, "rules": [rule] * 4}
    while len(json.dumps(policy)) < 64_000:
        policy["rules"].append({"keep": "always", "tags": ["t" * 128]})
    assert api("PUT", policy_path(f"repository/{repository}"), policy).status == 200
    assert api("POST", f"{API}/repositories/{repository}/-/retention/preview", {"policy": policy}).status == 200


def test_the_same_policy_again_is_no_new_version(api, repository):
    path = policy_path(f"repository/{repository}")
    first = api("PUT", path, KEEP_ALL)
    again = api("PUT", path, KEEP_ALL)
    assert again.status == 200 and again.json() == first.json() and again.headers["etag"] == '"1"'
    assert api("DELETE", path).status == 204
    assert api("PUT", path, KEEP_ALL).headers["etag"] == '"3"'


# -- What they would do, and what they did


def test_a_preview_says_what_would_go_and_changes_nothing(server, api, repository):
    for number in range(4):
        layer = f"{repository} {number}".encode() * 10_000
        server.push_image(repository, f"v{number}", layers=[layer, b"shared"], config=b'{"n":%d}' % number)
    untried, _ = verdicts(api, repository, {"policy": KEEP_ALL})
    assert {item["decision"] for item in untried.values()} == {"keep"}
    found, page = verdicts(api, repository, {"policy": KEEP_ONE}, n=3)
    assert {tag: item["decision"] for tag, item in found.items()} == {
        "v0": "delete", "v1": "delete", "v2": "delete", "v3": "keep",
    }
    assert page["policies"] == [f"repository/{repository}@0"]
    first = api("POST", f"{API}/repositories/{repository}/-/retention/preview?n=1", {"policy": KEEP_ONE})
    assert first.headers["link"] == f'<{first.json()["next"]}>; rel="next"'
    gone = sum(len(f"{repository} {number}".encode()) * 10_000 + len(b'{"n":0}') for number in range(3))
    manifests = [server.request("GET", f"/v2/{repository}/manifests/v{n}").body for n in range(3)]
    assert page["freed"] == {"manifests": 3, "blobs": 6, "bytes": gone + sum(map(len, manifests))}
    assert any("last" in rule for rule in found["v3"]["keptBy"]) and found["v0"]["deletedBy"]
    assert tags(api, repository) == ["v0", "v1", "v2", "v3"]
    hold(api, repository, "v1", reason="runs")
    held, _ = verdicts(api, repository, {"policy": KEEP_ONE})
    assert held["v1"]["decision"] == "keep" and held["v1"]["keptBy"] == ["in-use hold on v1: runs"]


def test_what_a_policy_deletes_is_in_the_history_and_can_be_put_back(server, api, repository):
    for number in range(3):
        server.push_image(repository, f"v{number}", config=b'{"n":%d}' % number)
    base = f"{API}/repositories/{repository}/-"
    assert api("POST", f"{base}/retention/apply", {}).codes == ["NOT_FOUND"]
    assert api("POST", f"{base}/retention/preview", {}).codes == ["NOT_FOUND"]
    assert api("PUT", policy_path(f"repository/{repository}"), KEEP_ONE).status == 200
    run = api("POST", f"{base}/retention/apply", {})
    assert run.status == 200 and (run.json()["tags"], run.json()["cause"]) == (2, "request")
    assert tags(api, repository) == ["v2"]
    assert api("POST", f"{base}/retention/apply", {}).json()["tags"] == 0
    (past,) = pages(api, f"{base}/retention/history?n=1")
    assert past == run.json() and past["policies"] == [f"repository/{repository}@1"]
    deleted = pages(api, f"{base}/deleted")
    assert [item["tag"] for item in deleted] == ["v0", "v1"]
    assert all(f"repository/{repository}" in item["reason"] for item in deleted)
    assert api("DELETE", policy_path(f"repository/{repository}")).status == 204
    assert api("POST", f"{base}/restore", {"reference": "v0"}).json()["tags"] == ["v0"]
    assert tags(api, repository) == ["v0", "v2"]


def test_a_policy_is_tried_where_it_would_hold(server, api, repository):
    server.push_image(repository, "v1")
    namespace = repository.split("/")[0]
    answer, page = verdicts(api, repository, {"policy": KEEP_ALL, "scope": f"namespace/{namespace}"})
    assert page["policies"] == [f"namespace/{namespace}@0"]
    path = f"{API}/repositories/{repository}/-/retention/preview"
    for body, told in [
        ({"policy": KEEP_ALL, "scope": "repository/other"}, "does not hold in"),
        ({"scope": "registry"}, "send both"),
        ({"policy": {"version": 2}}, "not understood"),
        ({"policy": KEEP_ALL, "dry": True}, "no field 'dry'"),
    ]:
        refused = api("POST", path, body)
        assert refused.status == 400 and told in refused.body.decode(), refused
