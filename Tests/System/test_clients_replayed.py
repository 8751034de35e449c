"""crane and regctl are in no package source that the tests can install from, so what they send is sent here, request by
request on one kept connection, and every answer is held to what they check.

Sources: go-containerregistry, pkg/v1/remote/{write,fetcher}.go; regclient, scheme/reg/{blob,manifest}.go.
"""
import http.client
import json
import os
import urllib.parse

import pytest

from harness import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256


class Go:
    """What Go's net/http adds to and understands of a request, on one connection."""

    def __init__(self, server, agent):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self.agent = agent

    def send(self, method, url, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers |= {"User-Agent": self.agent, "Accept-Encoding": "gzip"}
        if method in ("POST", "PUT", "PATCH") and body is None:
            headers["Content-Length"] = "0"
        chunked = body is not None and not isinstance(body, bytes)
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        self.connection.request(method, url, body=body, headers=headers, encode_chunked=chunked)
        response = self.connection.getresponse()
        response.content = response.read()
        assert "Content-Encoding" not in response.headers
        return response

    def resolve(self, base, response):
        """Location may be relative to the request that it answers."""
        url = urllib.parse.urljoin(base, response.headers["Location"])
        return url, dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def with_query(url, query):
    """Go's Values.Encode sorts by name and escapes the colon of a digest."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(sorted(query.items()))))


CRANE_ACCEPTS = ",".join([
    "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v2+json", OCI_MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json", OCI_INDEX,
])


def crane_push_blob(go, repository, data, source=None, streams=False):
    """Returns whether bytes were sent."""
    digest = sha256(data)
    if not streams:
        head = go.send("HEAD", f"/v2/{repository}/blobs/{digest}")
        assert head.status in (200, 404)
        if head.status == 200:
            return False
    uploads = f"/v2/{repository}/blobs/uploads/"
    if source:
        query = {"from": source, "mount": digest, "origin": go.connection.host}
        opened = go.send("POST", with_query(uploads, query), Content_Type="application/json")
        assert opened.status in (201, 202)
        if opened.status == 201:
            return False
    else:
        opened = go.send("POST", uploads, Content_Type="application/json")
        assert opened.status == 202
    location, _ = go.resolve(uploads, opened)
    body = (data[i : i + 32768] for i in range(0, len(data), 32768)) if streams else data
    patched = go.send("PATCH", location, body, Content_Type="application/octet-stream")
    assert patched.status in (202, 204, 201)
    location, query = go.resolve(location, patched)
    put = go.send("PUT", with_query(location, query | {"digest": digest}), Content_Type="application/octet-stream")
    assert put.status == 201
    return True


@pytest.mark.parametrize("streams", [False, True])
def test_crane_push_and_pull(server, repository, streams):
    go = Go(server, "crane/0.20.2 go-containerregistry/0.20.2")
    assert go.send("GET", "/v2/").status == 200
    config, layers = b'{"os":"linux"}', [os.urandom(200_000), os.urandom(5)]
    for layer in layers:
        assert crane_push_blob(go, repository, layer, streams=streams)
        if not streams:
            assert not crane_push_blob(go, repository, layer)  # the second image of a pipeline
    crane_push_blob(go, repository, config)
    body = json.dumps(image_manifest(config, layers)).encode()
    path = f"/v2/{repository}/manifests"
    head = go.send("HEAD", f"{path}/v1", Accept=OCI_MANIFEST)
    assert head.status == 404 and head.content == b""
    put = go.send("PUT", f"{path}/v1", body, Content_Type=OCI_MANIFEST)
    assert put.status in (200, 201, 202)
    # crane digest: HEAD must have type, length and digest, or crane falls back to GET
    head = go.send("HEAD", f"{path}/v1", Accept=CRANE_ACCEPTS)
    assert head.headers["Content-Type"] == OCI_MANIFEST and int(head.headers["Content-Length"]) == len(body)
    assert head.headers["Docker-Content-Digest"] == sha256(body)
    # crane pull
    got = go.send("GET", f"{path}/v1", Accept=CRANE_ACCEPTS)
    assert got.content == body and got.headers["Content-Type"] == OCI_MANIFEST
    for layer in layers:
        assert go.send("GET", f"/v2/{repository}/blobs/{sha256(layer)}").content == layer
    # crane tag is a PUT of the same bytes; crane ls follows Link; crane delete goes by digest
    assert go.send("PUT", f"{path}/v2", body, Content_Type=OCI_MANIFEST).status in (200, 201, 202)
    assert json.loads(go.send("GET", f"/v2/{repository}/tags/list?n=1000").content)["tags"] == ["v1", "v2"]
    assert go.send("DELETE", f"{path}/{sha256(body)}").status in (200, 202)


def test_crane_copies_between_repositories_by_mount(server, repository):
    go = Go(server, "crane/0.20.2")
    layer = os.urandom(1000)
    assert crane_push_blob(go, f"{repository}/a", layer)
    assert not crane_push_blob(go, f"{repository}/b", layer, source=f"{repository}/a")
    # what cannot be mounted is uploaded in the session that the answer opens
    assert crane_push_blob(go, f"{repository}/c", os.urandom(1000), source=f"{repository}/a")


def test_crane_attaches_a_referrer_and_leaves_the_fallback_tag_alone(server, repository):
    """After a push with a subject crane asks for the referrers; 200 tells it that the registry keeps the list."""
    go = Go(server, "crane/0.20.2")
    subject = sha256(b"an image that will be pushed later")
    crane_push_blob(go, repository, b"{}")
    about = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 34}
    body = json.dumps(image_manifest(layers=(), subject=about)).encode()
    path = f"/v2/{repository}"
    assert go.send("PUT", f"{path}/manifests/{sha256(body)}", body, Content_Type=OCI_MANIFEST).status == 201
    listed = go.send("GET", f"{path}/referrers/{subject}", Accept=OCI_INDEX)
    assert listed.status == 200
    assert [found["digest"] for found in json.loads(listed.content)["manifests"]] == [sha256(body)]


def test_regctl_pushes_with_one_put(server, repository):
    """An anonymous mount first; its 202 opens the session that one PUT then fills."""
    go = Go(server, "regclient/regctl (v0.7.2)")
    assert go.send("GET", "/v2/").status == 200
    data = os.urandom(100_000)
    uploads = f"/v2/{repository}/blobs/uploads/"
    opened = go.send("POST", f"{uploads}?mount={urllib.parse.quote(sha256(data), safe='')}")
    assert opened.status == 202 and opened.headers["Docker-Upload-UUID"]
    location, _ = go.resolve(uploads, opened)
    separator = "&" if "?" in location else "?"
    digest = urllib.parse.quote(sha256(data), safe="")
    put = go.send("PUT", f"{location}{separator}digest={digest}", data, Content_Type="application/octet-stream")
    assert put.status in (201, 204)
    # the next repository gets it by the anonymous mount alone
    other = f"/v2/{repository}/other/blobs/uploads/?mount={digest}"
    assert go.send("POST", other).status == 201


def test_regctl_gives_up_a_mount(server, repository):
    """It cancels by the id that `Docker-Upload-UUID` names."""
    go = Go(server, "regclient/regctl")
    uploads = f"/v2/{repository}/blobs/uploads/"
    opened = go.send("POST", f"{uploads}?mount={sha256(b'nowhere')}&from={repository}/source")
    assert opened.status == 202
    assert go.send("DELETE", uploads + opened.headers["Docker-Upload-UUID"]).status in (202, 204)


@pytest.mark.parametrize("size", [0, 1, 1000, 2500])
def test_regctl_pushes_in_chunks(server, repository, size):
    """Ranges without the word bytes; the upload is closed by an empty PUT with the range N-N."""
    go = Go(server, "regclient/regctl")
    data = os.urandom(size)
    uploads = f"/v2/{repository}/blobs/uploads/"
    opened = go.send("POST", uploads)
    location, _ = go.resolve(uploads, opened)
    for start in range(0, size, 1000):
        chunk = data[start : start + 1000]
        patched = go.send("PATCH", location, chunk, Content_Type="application/octet-stream",
                          Content_Range=f"{start}-{start + len(chunk) - 1}")
        assert patched.status == 202
        assert patched.headers["Range"] == f"0-{start + len(chunk) - 1}"
        location, _ = go.resolve(location, patched)
    separator = "&" if "?" in location else "?"
    digest = urllib.parse.quote(sha256(data), safe="")
    put = go.send("PUT", f"{location}{separator}digest={digest}", Content_Type="application/octet-stream",
                  Content_Range=f"{size}-{size}")
    assert put.status == 201
    assert go.send("GET", f"/v2/{repository}/blobs/{sha256(data)}").content == data


def test_regctl_pulls_and_lists(server, repository):
    go = Go(server, "regclient/regctl")
    digest, body = server.push_image(repository, "v1")
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {**descriptor(body, OCI_MANIFEST), "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()
    accepts = ", ".join([OCI_INDEX, OCI_MANIFEST, "application/vnd.oci.artifact.manifest.v1+json"])
    path = f"/v2/{repository}"
    assert go.send("PUT", f"{path}/manifests/multi", index, Content_Type=OCI_INDEX).status == 201
    head = go.send("HEAD", f"{path}/manifests/multi", Accept=accepts)
    assert head.status == 200 and head.headers["Docker-Content-Digest"] == sha256(index)
    assert go.send("GET", f"{path}/manifests/{sha256(index)}", Accept=accepts).content == index
    assert go.send("HEAD", f"{path}/blobs/{sha256(b'layer')}").headers["Content-Length"] == "5"
    first = go.send("GET", f"{path}/tags/list?n=1")
    assert json.loads(first.content)["tags"] == ["multi"] and 'rel="next"' in first.headers["Link"]
    # regctl tag delete: DELETE of the tag; only what answers 405 or 404 makes it push a dummy manifest instead
    assert go.send("DELETE", f"{path}/manifests/multi").status == 202
    assert go.send("HEAD", f"{path}/manifests/{digest}", Accept=accepts).status == 200
