"""Pushing manifests, listing, referrers and deleting."""
import json
import os

import pytest

from harness import BUILD_CACHE_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, build_cache, descriptor, image_manifest, sha256

pytestmark = pytest.mark.seaweedfs


def tags(server, repository, query=""):
    return server.request("GET", f"/v2/{repository}/tags/list{query}")


def test_every_missing_blob_is_named(server, repository):
    layers = [os.urandom(10) for _ in range(3)]
    server.push_blob(repository, layers[0])
    put = server.push_manifest(repository, "v1", image_manifest(os.urandom(5), layers + layers))
    assert put.status == 404
    assert put.codes == ["MANIFEST_BLOB_UNKNOWN"] * 3
    named = {e["detail"]["digest"] for e in put.json()["errors"]}
    assert named >= {sha256(layers[1]), sha256(layers[2])} and sha256(layers[0]) not in named
    assert tags(server, repository).json()["tags"] == []


def test_blob_of_another_repository_does_not_count(server, repository):
    server.push_blob(repository, b"{}")
    assert server.push_manifest(repository + "-b", "v1", image_manifest(layers=())).status == 404


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"schemaVersion":2}', b"\xff\xfe", b"[" * 100_000])
def test_nonsense_is_refused(server, repository, body):
    put = server.push_manifest(repository, "v1", body)
    assert put.status == 400 and put.codes == ["MANIFEST_INVALID"]


def test_media_type_must_agree(server, repository):
    server.push_blob(repository, b"{}")
    put = server.push_manifest(repository, "v1", image_manifest(layers=()), "application/vnd.other+json")
    assert put.status == 400 and put.codes == ["MANIFEST_INVALID"]


def test_wrong_size_in_a_descriptor(server, repository):
    server.push_blob(repository, b"{}")
    body = image_manifest(layers=())
    body["config"]["size"] = 3
    put = server.push_manifest(repository, "v1", body)
    assert put.status == 400 and put.codes == ["SIZE_INVALID"]


def test_wrong_digest_or_tag(server, repository):
    server.push_blob(repository, b"{}")
    put = server.push_manifest(repository, sha256(b"other"), image_manifest(layers=()))
    assert put.status == 400 and put.codes == ["DIGEST_INVALID"]
    put = server.push_manifest(repository, "-bad", image_manifest(layers=()))
    assert put.status == 400 and put.codes == ["TAG_INVALID"]


@pytest.mark.parametrize("extra,status", [(0, 201), (1, 413)])
def test_size_limit(server, repository, extra, status):
    server.push_blob(repository, b"{}")
    body = json.dumps(image_manifest(layers=(), annotations={"x": ""})).encode()
    body = body.replace(b'"x": ""', b'"x": "' + b"a" * (4 * 1024 * 1024 - len(body) + extra) + b'"')
    put = server.push_manifest(repository, "v1", body)
    assert put.status == status
    if status == 413:
        assert put.codes == ["SIZE_INVALID"]


def test_reference_limit(fresh):
    server = fresh(**{"manifests.max-references": 3})
    server.push_image("a", "v1", layers=(b"1", b"2"))
    server.push_blob("a", b"3")
    put = server.push_manifest("a", "v2", image_manifest(layers=(b"1", b"2", b"3")))
    assert put.status == 400 and put.codes == ["MANIFEST_INVALID"]


def test_foreign_layers_need_not_be_there(server, repository):
    server.push_blob(repository, b"{}")
    body = image_manifest(layers=(b"not pushed",))
    body["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    assert server.push_manifest(repository, "v1", body).status == 201
    body = image_manifest(layers=(b"elsewhere",))
    body["layers"][0]["urls"] = ["https://example.com/layer"]
    assert server.push_manifest(repository, "v2", body).status == 201


def test_a_build_cache_is_an_index_of_blobs(server, repository):
    layers = [b"first", b"second"]
    for blob in [BUILD_CACHE_CONFIG, layers[0]]:
        server.push_blob(repository, blob)
    put = server.push_manifest(repository, "cache", build_cache(layers), OCI_INDEX)
    assert put.status == 404 and put.codes == ["MANIFEST_BLOB_UNKNOWN"]
    assert put.json()["errors"][0]["detail"] == {"digest": sha256(b"second")}
    server.push_blob(repository, layers[1])
    assert server.push_manifest(repository, "cache", build_cache(layers), OCI_INDEX).status == 201
    got = server.request("GET", f"/v2/{repository}/manifests/cache", headers={"Accept": OCI_INDEX})
    assert got.status == 200 and got.json() == build_cache(layers)
    refused = server.request("DELETE", f"/v2/{repository}/blobs/{sha256(layers[0])}")
    assert refused.status == 405, "the index lists it"


def test_sparse_index_by_configuration(server, repository, fresh):
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(b"none", OCI_MANIFEST)]}
    put = server.push_manifest(repository, "i", index, OCI_INDEX)
    assert put.status == 404 and put.codes == ["MANIFEST_BLOB_UNKNOWN"]
    assert fresh(**{"manifests.sparse-indexes": True}).push_manifest("a", "i", index, OCI_INDEX).status == 201


def test_empty_index(server, repository):
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert server.push_manifest(repository, "i", index, OCI_INDEX).status == 201


def test_many_tags_at_once(server, repository):
    """PUT by digest with ?tag=: all or none; each is named in OCI-Tag."""
    server.push_blob(repository, b"{}")
    body = json.dumps(image_manifest(layers=())).encode()
    put = server.push_manifest(repository, f"{sha256(body)}?tag=a&tag=b&tag=c", body)
    assert put.status == 201 and put.headers["oci-tag"] == "a, b, c"
    assert tags(server, repository).json()["tags"] == ["a", "b", "c"]
    put = server.push_manifest(repository, f"{sha256(body)}?tag=d&tag=-bad", body)
    assert put.status == 400 and put.codes == ["TAG_INVALID"]
    put = server.push_manifest(repository, f"{sha256(body)}?tag=e&tag=a", body, headers={"If-None-Match": "*"})
    assert put.status == 412
    assert tags(server, repository).json()["tags"] == ["a", "b", "c"]


def test_conditional_writes(server, repository):
    """If-None-Match: * creates, If-Match replaces what was read; whoever lost is told, and nothing changes."""
    server.push_blob(repository, b"{}")
    bodies = [json.dumps(image_manifest(layers=(), annotations={"n": str(n)})).encode() for n in range(3)]

    def put(n, **headers):
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return server.push_manifest(repository, "t", bodies[n], headers=named).status

    assert put(0, If_Match="*") == 412
    assert put(0, If_None_Match="*") == 201
    assert put(1, If_None_Match="*") == 412
    assert put(1, If_Match=f'"{sha256(bodies[2])}"') == 412
    assert put(1, If_Match=f'"{sha256(bodies[0])}"') == 201
    assert put(2, If_Match=f'"{sha256(bodies[2])}", "{sha256(bodies[1])}"') == 201
    assert server.request("GET", f"/v2/{repository}/manifests/t").body == bodies[2]
    lost = server.push_manifest(repository, "t", bodies[0], headers={"If-None-Match": "*"})
    assert lost.codes == ["PRECONDITION_FAILED"]


def test_tag_lists_by_page(server, repository):
    """Byte order; n, last and Link; n=0 is empty without a Link; last need not exist."""
    server.push_blob(repository, b"{}")
    body = json.dumps(image_manifest(layers=())).encode()
    names = ["A", "Z", "_x", "a", "b.1", "b1", "c"]
    for name in reversed(names):
        server.push_manifest(repository, name, body)
    everything = tags(server, repository)
    assert everything.json() == {"name": repository, "tags": sorted(names, key=str.encode)}
    assert "link" not in everything.headers
    empty = tags(server, repository, "?n=0")
    assert empty.json()["tags"] == [] and "link" not in empty.headers
    found, path = [], f"/v2/{repository}/tags/list?n=3"
    while path:
        page = server.request("GET", path)
        assert len(page.json()["tags"]) <= 3
        found += page.json()["tags"]
        path = page.headers["link"].split(">")[0][1:] if "link" in page.headers else None
    assert found == sorted(names, key=str.encode)
    assert tags(server, repository, "?last=b").json()["tags"] == ["b.1", "b1", "c"]
    assert "link" not in tags(server, repository, "?n=7").headers


@pytest.mark.parametrize("path", ["test/none/tags/list", "_catalog"])
@pytest.mark.parametrize("n", ["-1", "x", "", "1.5"])
def test_page_size_that_is_none(server, path, n):
    wrong = server.request("GET", f"/v2/{path}?n={n}")
    assert wrong.status == 400 and wrong.codes == ["PAGINATION_NUMBER_INVALID"]


def test_tags_of_no_repository(server):
    got = tags(server, "test/no-such")
    assert got.status == 404 and got.codes == ["NAME_UNKNOWN"]


def test_catalog(fresh):
    server = fresh()
    assert server.request("GET", "/v2/_catalog").json() == {"repositories": []}
    for name in ("b", "a/z", "a"):
        server.push_blob(name, b"x")
    assert server.request("GET", "/v2/_catalog").json() == {"repositories": ["a", "a/z", "b"]}
    page = server.request("GET", "/v2/_catalog?n=2")
    assert page.json()["repositories"] == ["a", "a/z"]
    assert server.request("GET", page.headers["link"].split(">")[0][1:]).json() == {"repositories": ["b"]}


def artifact(subject, kind, **extra):
    return {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
        "config": descriptor(b"{}", OCI_EMPTY), "layers": [], "subject": subject, **extra,
    }


def test_referrers(server, repository):
    """The subject need not exist; OCI-Subject is always answered; filter, pages and annotations work."""
    server.push_blob(repository, b"{}")
    subject = descriptor(os.urandom(10), OCI_MANIFEST)
    path = f"/v2/{repository}/referrers/{subject['digest']}"
    assert server.request("GET", path).json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    expected = {}
    for n in range(5):
        body = json.dumps(artifact(subject, f"application/{'ab'[n % 2]}", annotations={"n": str(n)})).encode()
        put = server.push_manifest(repository, sha256(body), body)
        assert put.status == 201 and put.headers["oci-subject"] == subject["digest"]
        expected[sha256(body)] = {
            "mediaType": OCI_MANIFEST, "digest": sha256(body), "size": len(body),
            "artifactType": f"application/{'ab'[n % 2]}", "annotations": {"n": str(n)},
        }
    listed = server.request("GET", path)
    assert listed.headers["content-type"] == OCI_INDEX
    assert {m["digest"]: m for m in listed.json()["manifests"]} == expected
    filtered = server.request("GET", path + "?artifactType=application%2Fa")
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    assert len(filtered.json()["manifests"]) == 3
    found, path = [], path + "?n=2"
    while path:
        page = server.request("GET", path)
        found += [m["digest"] for m in page.json()["manifests"]]
        path = page.headers["link"].split(">")[0][1:] if "link" in page.headers else None
    assert sorted(found) == sorted(expected) and len(found) == 5


def test_referrers_of_the_fallback_tag(server, repository):
    """What a client listed under sha256-<hash> before is shown too, once."""
    server.push_blob(repository, b"{}")
    subject = descriptor(b"subject" + os.urandom(4), OCI_MANIFEST)
    old = json.dumps(artifact(None, "application/old")).encode().replace(b'"subject": null', b'"x": 1')
    new = json.dumps(artifact(subject, "application/new")).encode()
    for body in (old, new):
        assert server.push_manifest(repository, sha256(body), body).status == 201
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {**descriptor(old, OCI_MANIFEST), "artifactType": "application/old"}, descriptor(new, OCI_MANIFEST),
    ]}
    assert server.push_manifest(repository, subject["digest"].replace(":", "-"), index, OCI_INDEX).status == 201
    listed = server.request("GET", f"/v2/{repository}/referrers/{subject['digest']}").json()["manifests"]
    assert sorted(m["digest"] for m in listed) == sorted([sha256(old), sha256(new)])


def test_referrers_of_a_bad_digest(server, repository):
    assert server.request("GET", f"/v2/{repository}/referrers/sha256:abc").codes == ["DIGEST_INVALID"]


def test_index_shows_no_config_type_as_referrer(server, repository):
    server.push_image(repository, "v1")
    subject = descriptor(os.urandom(3), OCI_MANIFEST)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": subject}
    put = server.push_manifest(repository, "i", index, OCI_INDEX)
    assert put.headers["oci-subject"] == subject["digest"]
    listed = server.request("GET", f"/v2/{repository}/referrers/{subject['digest']}").json()["manifests"]
    assert len(listed) == 1 and "artifactType" not in listed[0]


def test_deleting(server, repository):
    """A tag goes alone, a manifest with its tags, a blob only when no manifest lists it."""
    layer = os.urandom(100)
    digest, body = server.push_image(repository, "v1", layers=(layer,))
    server.push_manifest(repository, "v2", body)
    path = f"/v2/{repository}"
    held = server.request("DELETE", f"{path}/blobs/{sha256(layer)}")
    assert held.status == 405 and held.codes == ["UNSUPPORTED"]
    assert held.json()["errors"][0]["detail"]["manifest"] == digest
    assert server.request("DELETE", f"{path}/manifests/v1").status == 202
    assert server.request("GET", f"{path}/manifests/v1").status == 404
    assert server.request("GET", f"{path}/manifests/{digest}").status == 200
    assert tags(server, repository).json()["tags"] == ["v2"]
    assert server.request("DELETE", f"{path}/manifests/{digest}").status == 202
    for reference in (digest, "v2"):
        assert server.request("GET", f"{path}/manifests/{reference}").status == 404
        assert server.request("DELETE", f"{path}/manifests/{reference}").codes == ["MANIFEST_UNKNOWN"]
    assert tags(server, repository).json()["tags"] == []
    assert server.request("DELETE", f"{path}/blobs/{sha256(layer)}").status == 202
    assert server.request("GET", f"{path}/blobs/{sha256(layer)}").status == 404
    assert server.request("DELETE", f"{path}/blobs/{sha256(layer)}").codes == ["BLOB_UNKNOWN"]
