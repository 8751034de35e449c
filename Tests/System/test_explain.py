"""`strata gc explain` follows what keeps something up to the tags, and says what becomes of what nothing keeps."""
import json
import subprocess

from harness import BINARY, OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256
from management import API, checked
from test_collection import quick, strata
from test_retention import set_policy

LAYER, SBOM = b"layer of one platform", b"the packages"
DAY = 24 * 3_600_000


def push_multi(server, repository, tag):
    """An index of one image, with an SBOM that is about the index: (index, image, SBOM)."""
    image = json.dumps(image_manifest(layers=[LAYER])).encode()
    server.push_image(repository, sha256(image), layers=[LAYER])
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(image, OCI_MANIFEST)]}).encode()
    assert server.push_manifest(repository, tag or sha256(index), index, OCI_INDEX).status == 201
    about = {"layers": [SBOM], "subject": descriptor(index, OCI_INDEX)}
    sbom = sha256(json.dumps(image_manifest(**about)).encode())
    server.push_image(repository, sbom, **about)
    return sha256(index), sha256(image), sbom


def explain(server, digest):
    return strata(server, "gc", "explain", digest).splitlines()


def test_the_layers_of_a_tagged_index_and_of_its_sbom_lead_to_the_tag(fresh):
    server = fresh()
    index, image, sbom = push_multi(server, "team/app", "v1")
    lines = explain(server, sha256(LAYER))
    at = lines.index(f"      - {image} lists it")
    assert lines[at + 1] == f"          - the index {index} lists it, named by v1"
    lines = explain(server, sha256(SBOM))
    at = lines.index(f"      - {sbom} lists it")
    assert lines[at + 1] == f"          - it is about {index}, named by v1"
    assert f"  - it is about {index}, named by v1" in explain(server, sbom)
    assert "nothing" not in "\n".join(explain(server, sha256(LAYER)) + explain(server, sha256(SBOM)))


def test_what_goes_with_what_keeps_it_is_told_by_which_rule_and_when(fresh):
    """The API's answers are what its document says, however deep."""
    server = fresh()
    document = server.request("GET", f"{API}/openapi.json").json()
    index, image, sbom = push_multi(server, "team/app", None)
    set_policy(server, "registry", {"name": "stray", "delete": "untagged", "days": 1})
    found = checked(server, document, "GET", f"{API}/repositories/team/app/-/explain/{sha256(SBOM)}").json()
    (listed,) = found["blob"]["links"][0]["manifests"]
    subject = listed["subject"]
    assert (listed["digest"], subject["digest"]) == (sbom, index) and "untagged" not in listed
    assert subject["untagged"]["rule"] == "registry: stray"
    assert subject["untagged"]["removedAt"] >= subject["untagged"]["since"] + DAY
    assert listed["end"]["removedAt"] == subject["untagged"]["removedAt"] < listed["end"]["bytesUntil"]
    text = "\n".join(explain(server, sha256(LAYER)))
    assert f"the index {index} lists it\n              - nothing has named it since" in text
    assert "by registry: stray" in text and "it goes with what keeps it" in text and "at the latest" in text
    held = ["hold", "set", "team/app", index, "--reason", "case 7"]
    strata(server, *held)
    text = "\n".join(explain(server, sha256(LAYER)))
    assert f"- it is kept by the in-use hold on {index}: case 7" in text and "nothing has named" not in text
    alone, _ = server.push_image("team/app", sha256(json.dumps(image_manifest(layers=[b"alone"])).encode()), layers=[b"alone"])
    text = "\n".join(explain(server, sha256(b"alone")))
    assert f"- {alone} lists it\n          - nothing has named it since" in text and "by registry: stray" in text


def test_only_what_is_to_come_is_told(fresh, stores):
    server = fresh(gc__enabled="false")
    loose, _ = server.push_image("team/app", sha256(json.dumps(image_manifest()).encode()))
    gone, _ = server.push_image("team/app", "v1", config=b'{"gone":1}')
    assert "it is promised to clients until" in "\n".join(explain(server, loose))
    assert server.request("DELETE", f"/v2/team/app/manifests/{gone}").status == 202
    set_policy(server, "registry", {"name": "stray", "delete": "untagged", "days": 1})
    assert server.stop() == 0
    stores.sql(server, f"UPDATE manifest SET created_at = created_at - {30 * DAY}, keep_until = keep_until - {30 * DAY}")
    stores.sql(server, f"UPDATE repo_blob SET lease_until = lease_until - {30 * DAY}")
    for table in ("deleted_manifest", "deleted_tag"):
        stores.sql(server, f"UPDATE {table} SET restorable_until = deleted_at - 1")
    text = "\n".join(explain(server, loose))
    assert "promised" not in text and "it is removed by registry: stray as soon as the collector gets there" in text
    assert "promised" not in "\n".join(explain(server, sha256(b"layer")))
    text = "\n".join(explain(server, gone))
    assert "It can be put back until" not in text and "It can be put back as long as its bytes are there." in text


def test_a_layer_tells_which_deleted_manifests_listed_it(fresh):
    server = fresh()
    document = server.request("GET", f"{API}/openapi.json").json()
    digest, _ = server.push_image("team/app", "v1", layers=[LAYER])
    other, _ = server.push_image("team/app", "v2", layers=[b"another"])
    for gone in (digest, other):
        assert server.request("DELETE", f"/v2/team/app/manifests/{gone}").status == 202
    (line,) = [line for line in explain(server, sha256(LAYER)) if "listed it" in line]
    assert line.startswith(f"      - {digest} listed it until it was deleted at ") and line.endswith(": deleted by request")
    found = checked(server, document, "GET", f"{API}/repositories/team/app/-/explain/{sha256(LAYER)}").json()
    assert [each["digest"] for each in found["blob"]["links"][0]["deletedManifests"]] == [digest]
    server.push_image("team/app", "v3", layers=[LAYER], config=b'{"again":1}')
    assert "listed it" not in "\n".join(explain(server, sha256(LAYER)))


def test_lists_that_are_cut_say_so(fresh):
    server = fresh()
    for number in range(21):
        server.push_image("team/app", f"v{number}", config=json.dumps({"n": number}).encode())
    lines = explain(server, sha256(b"layer"))
    assert len([line for line in lines if "lists it" in line]) == 20 and "      - and more" in lines
    digest, body = server.push_image("team/tags", "v0", config=b'{"tags":1}')
    for number in range(1, 21):
        server.push_manifest("team/tags", f"v{number}", body)
    assert "  - and more" in explain(server, digest)


def test_a_digest_of_which_nothing_is_stored_is_an_error(fresh):
    server = fresh()
    for extra in ([], ["--json"]):
        done = subprocess.run(
            [BINARY, "gc", "explain", sha256(b"unknown"), *extra, *server.options], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr == f"Error: Nothing of {sha256(b'unknown')} is stored, and nothing is kept of it.\n"
