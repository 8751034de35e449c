"""Pulling manifests and blobs."""
import json
import os

import pytest

from harness import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256, sha512

pytestmark = pytest.mark.seaweedfs


@pytest.mark.parametrize("accept", [None, "*/*", DOCKER_MANIFEST, "text/html", OCI_INDEX])
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_manifest_comes_back_as_it_was(server, repository, by, accept):
    """Exact bytes and media type, whatever Accept says; caches may keep what a digest names, not what a tag does."""
    digest, body = server.push_image(repository, "v1", odd="  spaces  ")
    reference = "v1" if by == "tag" else digest
    path = f"/v2/{repository}/manifests/{reference}"
    headers = {"Accept": accept} if accept else {}
    got, head = server.request("GET", path, headers=headers), server.request("HEAD", path, headers=headers)
    assert got.body == body and head.body == b""
    for response in (got, head):
        assert response.status == 200
        assert response.headers["content-type"] == OCI_MANIFEST
        assert response.headers["content-length"] == str(len(body))
        assert response.headers["docker-content-digest"] == digest
        assert response.headers["etag"] == f'"{digest}"'
        assert ("immutable" if by == "digest" else "no-cache") in response.headers["cache-control"]


@pytest.mark.parametrize("tag", ['"{d}"', 'W/"{d}"', "*", '"x", "{d}"'])
def test_known_content_is_304(server, repository, tag):
    digest, _ = server.push_image(repository, "v1")
    config = sha256(b"{}")
    for path, d in ((f"manifests/v1", digest), (f"manifests/{digest}", digest), (f"blobs/{config}", config)):
        got = server.request("GET", f"/v2/{repository}/{path}", headers={"If-None-Match": tag.format(d=d)})
        assert got.status == 304 and got.body == b"" and got.headers["etag"] == f'"{d}"'
    other = server.request("GET", f"/v2/{repository}/manifests/v1", headers={"If-None-Match": '"sha256:0"'})
    assert other.status == 200


@pytest.mark.parametrize("media_type", [
    OCI_MANIFEST, DOCKER_MANIFEST, "application/vnd.example.custom+json", OCI_MANIFEST + "; charset=utf-8",
])
def test_media_types_of_images(server, repository, media_type):
    server.push_blob(repository, b"{}")
    body = {"schemaVersion": 2, "config": descriptor(b"{}", "application/x"), "layers": []}
    put = server.push_manifest(repository, "t", body, media_type)
    assert put.status == 201
    got = server.request("GET", f"/v2/{repository}/manifests/t")
    assert got.headers["content-type"] == media_type.split(";")[0]


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_media_types_of_indexes(server, repository, media_type):
    _, child = server.push_image(repository, "child")
    body = {"schemaVersion": 2, "manifests": [descriptor(child, OCI_MANIFEST)]}
    assert server.push_manifest(repository, "i", body, media_type).status == 201
    assert server.request("GET", f"/v2/{repository}/manifests/i").headers["content-type"] == media_type


@pytest.mark.parametrize("reference,status,code", [
    ("nope", 404, "MANIFEST_UNKNOWN"), (".INVALID", 404, "MANIFEST_UNKNOWN"), (sha256(b"no"), 404, "MANIFEST_UNKNOWN"),
    ("sha256:abc", 400, "DIGEST_INVALID"),
])
def test_manifest_that_is_not_there(server, repository, reference, status, code):
    server.push_image(repository, "v1")
    for name in (repository, repository + "-none"):
        got = server.request("GET", f"/v2/{name}/manifests/{reference}")
        assert (got.status, got.codes) == (status, [code])
        head = server.request("HEAD", f"/v2/{name}/manifests/{reference}")
        assert head.status == status and head.body == b""


CONTENT = os.urandom(100_000)


@pytest.mark.parametrize("content", [CONTENT, CONTENT[:1000]], ids=["file", "inline"])
@pytest.mark.parametrize("header,first,last", [
    ("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=-5", -5, -1), ("bytes=100-", 100, -1),
    ("bytes=0-99999999", 0, -1), ("bytes=-99999999", 0, -1), ("bytes=0-", 0, -1),
])
def test_range(server, repository, content, header, first, last):
    digest = server.push_blob(repository, content)
    first, last = first % len(content), last % len(content)
    got = server.request("GET", f"/v2/{repository}/blobs/{digest}", headers={"Range": header})
    assert got.status == 206
    assert got.body == content[first:last + 1]
    assert got.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
    assert got.headers["content-length"] == str(last - first + 1)
    assert got.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("header", ["bytes=100000-", "bytes=999999-9999999", "bytes=-0"])
def test_range_outside(server, repository, header):
    digest = server.push_blob(repository, CONTENT)
    got = server.request("GET", f"/v2/{repository}/blobs/{digest}", headers={"Range": header})
    assert got.status == 416 and got.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert got.codes == ["SIZE_INVALID"]


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "items=0-1", "bytes=5-2", "bytes=a-b", "nonsense"])
def test_range_that_is_ignored(server, repository, header):
    digest = server.push_blob(repository, CONTENT)
    got = server.request("GET", f"/v2/{repository}/blobs/{digest}", headers={"Range": header})
    assert got.status == 200 and got.body == CONTENT


@pytest.mark.parametrize("condition,status", [
    ('"{d}"', 206), ('W/"{d}"', 200), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
])
def test_if_range(server, repository, condition, status):
    digest = server.push_blob(repository, CONTENT)
    headers = {"Range": "bytes=0-9", "If-Range": condition.format(d=digest)}
    assert server.request("GET", f"/v2/{repository}/blobs/{digest}", headers=headers).status == status


def test_blob_is_only_where_it_was_pushed(server, repository):
    digest = server.push_blob(repository, os.urandom(100))
    elsewhere = server.request("GET", f"/v2/{repository}-b/blobs/{digest}")
    assert elsewhere.status == 404 and elsewhere.codes == ["BLOB_UNKNOWN"]


def test_manifest_of_sha512(server, repository):
    server.push_blob(repository, b"{}")
    body = json.dumps(image_manifest(layers=())).encode()
    put = server.push_manifest(repository, sha512(body), body)
    assert put.status == 201 and put.headers["docker-content-digest"] == sha512(body)
    assert server.request("GET", f"/v2/{repository}/manifests/{sha512(body)}").body == body
