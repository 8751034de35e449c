"""What the policies say is seen beforehand, done by the server itself, announced to clients, and can be undone."""
import json
import os
import subprocess
import tempfile

from harness import BINARY, OCI_INDEX, OCI_MANIFEST, sha256, wait_until
from test_collection import LARGE, quick, strata


def set_policy(server, scope, *rules, immutable=()):
    lists = {"rules": list(rules), "immutable": list(immutable)}
    document = {"version": 1, **{name: items for name, items in lists.items() if items}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(document, file)
        file.flush()
        strata(server, "retention", "set", scope, file.name)


def tags(server, name):
    return server.request("GET", f"/v2/{name}/tags/list").json()["tags"]


KEEP_TWO = ({"keep": "last", "count": 2, "by": "pushed"}, {"delete": "rest"})


def test_a_preview_says_what_goes_and_how_many_bytes_and_then_exactly_these_go(fresh, stores):
    server = quick(fresh, retention__enabled="false")
    base = os.urandom(LARGE)
    for number in range(4):
        server.push_image("team/app", f"v{number}", layers=[base, os.urandom(LARGE + number)], config=b'{"n":%d}' % number)
    server.push_image("team/other", "v0", layers=[base])
    set_policy(server, "repository/team/app", *KEEP_TWO)
    plan = json.loads(strata(server, "retention", "preview", "team/app", "--json"))
    assert [(t["tag"], t["decision"]) for t in plan["tags"]] == [
        ("v0", "delete"), ("v1", "delete"), ("v2", "keep"), ("v3", "keep"),
    ]
    assert plan["tags"][0]["deletedBy"] == ["repository/team/app: delete rest"]
    assert plan["tags"][3]["keptBy"] == ["repository/team/app: keep last 2 by pushed"]
    assert plan["freed"]["manifests"] == 2 and plan["freed"]["blobs"] == 4
    assert tags(server, "team/app") == ["v0", "v1", "v2", "v3"] and len(stores.objects(server)) == 5
    run = json.loads(strata(server, "retention", "apply", "team/app", "--json"))
    assert (run["tags"], run["bytes"]) == (2, plan["freed"]["bytes"])
    assert tags(server, "team/app") == ["v2", "v3"], "visible at once"
    wait_until(lambda: len(stores.objects(server)) == 3, "reclaimed")
    wait_until(lambda: server.metric("strata_gc_reclaimed_bytes_total") == run["bytes"], "exactly as many bytes")
    [old] = json.loads(strata(server, "retention", "history", "team/app", "--json"))
    assert old == run
    assert server.verify()[0] == 0


def test_what_an_image_runs_on_is_read_from_a_configuration_that_is_an_object(fresh, stores, tmp_path):
    server = quick(fresh, retention__interval="1s")
    for number, architecture in enumerate(("arm64", "amd64", "amd64")):
        config = {"os": "linux", "architecture": architecture, "history": [str(number) * 20_000]}
        server.push_image("team/app", f"v{number}", config=json.dumps(config).encode())
    rules = [{"keep": "last", "count": 1, "by": "pushed", "perPlatform": True}, {"delete": "rest"}]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"version": 1, "rules": rules}))
    plan = json.loads(strata(server, "retention", "preview", "team/app", "--policy", str(file), "--json"))
    assert [t["decision"] for t in plan["tags"]] == ["keep", "delete", "keep"]
    server.push_image("team/app", "v3", config=json.dumps({**config, "history": ["3" * 20_000]}).encode())
    set_policy(server, "registry", *rules)
    wait_until(lambda: tags(server, "team/app") == ["v0", "v3"], "applied by the server")
    assert server.verify()[0] == 0


def test_a_preview_can_try_a_policy_that_is_not_set(fresh, tmp_path):
    server = fresh()
    for number in range(3):
        server.push_image("team/app", f"v{number}", config=b'{"n":%d}' % number)
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"version": 1, "rules": list(KEEP_TWO)}))
    plan = json.loads(strata(server, "retention", "preview", "team/app", "--policy", str(file), "--json"))
    assert [t["decision"] for t in plan["tags"]] == ["delete", "keep", "keep"]
    wider = strata(server, "retention", "preview", "team/app", "--policy", str(file), "--scope", "namespace/team", "--json")
    assert json.loads(wider)["policies"] == ["namespace/team@0"]
    text = strata(server, "retention", "preview", "team/app", "--policy", str(file))
    assert "v0: delete, by repository/team/app: delete rest" in text and "1 of 3 tags" in text


def test_the_server_applies_inherited_policies_by_itself_and_what_went_can_be_put_back(fresh):
    server = fresh(retention__interval="1s")
    for number in range(4):
        server.push_image("team/app", f"v{number}", config=b'{"n":%d}' % number)
        server.push_image("free/app", f"v{number}", config=b'{"n":%d}' % number)
    set_policy(server, "namespace/team", *KEEP_TWO)
    wait_until(lambda: tags(server, "team/app") == ["v2", "v3"], "applied")
    assert tags(server, "free/app") == ["v0", "v1", "v2", "v3"]
    wait_until(lambda: server.metric("strata_retention_tags_total") == 2, "counted")
    # What is put back counts as pushed now, so that another tag is the third.
    restored = strata(server, "undelete", "team/app", "v0")
    assert restored.splitlines() == [
        "put back the tag v0",
        "A rule had deleted v0. It counts as pushed now, and the rules will judge it again; a hold keeps it:",
        "  strata hold set team/app v0 --reason ...",
    ]
    wait_until(lambda: tags(server, "team/app") == ["v0", "v3"], "applied again")
    assert server.request("GET", "/v2/team/app/manifests/v0").status == 200


def test_untagged_manifests_stay_unless_a_rule_says_so_and_parts_of_a_tagged_index_always_do(fresh):
    server = fresh(retention__interval="1s")
    digest, _ = server.push_image("team/app", "v1", config=b'{"n":1}')
    child = {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}
    child["size"] = len(server.request("GET", f"/v2/team/app/manifests/{digest}").body)
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    assert server.request("PUT", "/v2/team/app/manifests/all", index, {"Content-Type": OCI_INDEX}).status == 201
    assert server.request("DELETE", "/v2/team/app/manifests/v1").status == 202
    set_policy(server, "registry", {"delete": "untagged", "days": 1})
    plan = json.loads(strata(server, "retention", "preview", "team/app", "--json"))
    assert plan["untagged"] == [], "it is part of a tagged index"
    assert server.request("DELETE", "/v2/team/app/manifests/all").status == 202
    plan = json.loads(strata(server, "retention", "preview", "team/app", "--json"))
    [untagged] = plan["untagged"]
    assert untagged["digest"] == sha256(index) and untagged["decision"] == "keep"
    assert untagged["deletedFrom"] == untagged["since"] + 24 * 3_600_000


def test_a_hold_beats_every_rule_until_it_is_released(fresh):
    server = fresh(retention__interval="1s")
    for number in range(3):
        server.push_image("team/app", f"v{number}", config=b'{"n":%d}' % number)
    body = json.dumps({"kind": "legal", "subject": "v0", "reason": "case 7"}).encode()
    answer = server.request(
        "POST", "/api/v1/repositories/team/app/-/holds", body, {"Content-Type": "application/json"}
    )
    assert answer.status == 200, answer.body
    set_policy(server, "registry", *({**KEEP_TWO[0], "count": 1}, KEEP_TWO[1]))
    wait_until(lambda: tags(server, "team/app") == ["v0", "v2"], "applied around the hold")
    hold = answer.json()["id"]
    assert server.request("DELETE", f"/api/v1/repositories/team/app/-/holds/{hold}").status == 204
    wait_until(lambda: tags(server, "team/app") == ["v2"], "applied")


def test_clients_are_warned_of_a_tag_that_a_rule_deletes_within_a_week(fresh):
    server = fresh(retention__interval="1s")
    digest, _ = server.push_image("team/app", "pr-1")
    set_policy(server, "registry", {"delete": "unused", "days": 3, "tags": ["pr-*"]})
    wait_until(lambda: "warning" in server.request("HEAD", "/v2/team/app/manifests/pr-1").headers, "announced")
    warning = server.request("GET", "/v2/team/app/manifests/pr-1").headers["warning"]
    assert warning.startswith('299 - "') and "deletes this tag after" in warning
    assert "warning" not in server.request("HEAD", f"/v2/team/app/manifests/{digest}").headers
    set_policy(server, "registry", {"delete": "unused", "days": 30, "tags": ["pr-*"]})
    wait_until(lambda: "warning" not in server.request("HEAD", "/v2/team/app/manifests/pr-1").headers, "taken back")


def test_a_policy_that_is_removed_warns_of_nothing_any_more(fresh):
    server = fresh(retention__interval="1s")
    server.push_image("team/app", "pr-1")
    set_policy(server, "namespace/team", {"delete": "old", "days": 3})
    wait_until(lambda: "warning" in server.request("HEAD", "/v2/team/app/manifests/pr-1").headers, "announced")
    strata(server, "retention", "remove", "namespace/team")
    wait_until(lambda: "warning" not in server.request("HEAD", "/v2/team/app/manifests/pr-1").headers, "taken back")


def test_an_immutable_tag_is_neither_moved_nor_deleted_by_a_client(fresh):
    server = fresh()
    set_policy(server, "registry", immutable=["v*"])
    digest, manifest = server.push_image("team/app", "v1", config=b'{"n":1}')
    content = {"Content-Type": OCI_MANIFEST}
    path = "/v2/team/app/manifests"
    assert server.request("PUT", f"{path}/v1", manifest, content).status == 201, "the same again"
    assert server.request("PUT", f"{path}/latest", manifest, content).status == 201
    other, manifest = server.push_image("team/app", "latest", config=b'{"n":2}')
    for answer in [
        server.request("PUT", f"{path}/v1", manifest, content),
        server.request("PUT", f"{path}/{other}?tag=new&tag=v1", manifest, content),
        server.request("DELETE", f"{path}/v1"),
        server.request("DELETE", f"{path}/{digest}"),
    ]:
        assert (answer.status, answer.codes) == (403, ["DENIED"]), answer.body
        assert "immutable v*" in answer.json()["errors"][0]["message"]
    assert tags(server, "team/app") == ["latest", "v1"], "none of the tags of a refused push was made"
    assert server.request("HEAD", f"{path}/v1").headers["docker-content-digest"] == digest


def test_pulls_are_written_down_when_the_server_stops(fresh):
    server = fresh()
    digest, _ = server.push_image("team/app", "v1")
    for reference in ["v1", "v1", digest]:
        assert server.request("GET", f"/v2/team/app/manifests/{reference}").status == 200
    assert server.request("HEAD", "/v2/team/app/manifests/v1").status == 200
    server.stop()
    server.start()
    set_policy(server, "registry", {"delete": "unused", "days": 3})
    [tag] = json.loads(strata(server, "retention", "preview", "team/app", "--json"))["tags"]
    assert tag["pulledAt"] >= tag["pushedAt"]
    assert tag["deletedFrom"] == tag["pulledAt"] + 3 * 24 * 3_600_000


def test_all_policies_are_listed_by_their_scopes(fresh):
    server = fresh()
    for number, scope in enumerate(["repository/team/app", "registry", "namespace/team", "registry"]):
        set_policy(server, scope, {"keep": "always", "name": f"rule {number}"})
    strata(server, "retention", "remove", "namespace/team")
    lines = strata(server, "retention", "list").splitlines()
    assert [line.split(", set at ")[0] for line in lines] == ["registry: version 2", "repository/team/app: version 1"]


def test_a_policy_that_is_wrong_is_refused_with_everything_that_is_wrong(fresh, tmp_path):
    server = fresh()
    file = tmp_path / "policy.json"
    file.write_text('{"version": 1, "rules": [{"keep": "last", "count": 0}, {"delete": "old", "day": 3}]}')
    done = subprocess.run(
        [BINARY, "retention", "set", "registry", str(file), *server.options], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "rules[0]" in done.stderr and "rules[1]" in done.stderr
    done = subprocess.run([BINARY, "retention", "show", "registry", *server.options], capture_output=True, text=True)
    assert done.returncode != 0 and "There is no policy" in done.stderr
