"""Who gets a large blob from the object store itself, and who from the registry."""
import os
import socket
import urllib.parse

import pytest

from harness import exchange, sha256, sha512, wait_until

pytestmark = pytest.mark.shared
LARGE = os.urandom((1 << 20) + 3)


def elsewhere(answer, headers=None, method="GET"):
    url = urllib.parse.urlsplit(answer.headers["location"])
    return exchange(url.port, method, f"{url.path}?{url.query}", headers=headers)


def get(server, repository, digest, **headers):
    return server.request("GET", f"/v2/{repository}/blobs/{digest}", headers=headers, follow=False)


def test_a_large_blob_is_sent_by_the_store(server, repository):
    digest = server.push_blob(repository, LARGE)
    answer = get(server, repository, digest)
    assert answer.status == 307 and answer.body == b"" and answer.headers["content-length"] == "0"
    assert answer.headers["cache-control"] == "no-store" and answer.headers["docker-content-digest"] == digest
    whole = elsewhere(answer)
    assert whole.status == 200 and whole.body == LARGE
    assert whole.headers["content-type"] == "application/octet-stream"


def test_ranges_work_at_the_store(server, repository):
    answer = get(server, repository, server.push_blob(repository, LARGE), Range="bytes=5-9")
    assert answer.status == 307
    part = elsewhere(answer, {"Range": "bytes=5-9"})
    assert part.status == 206 and part.body == LARGE[5:10]


def test_head_is_never_redirected(server, repository):
    """A URL that is signed for GET fails on HEAD."""
    digest = server.push_blob(repository, LARGE)
    head = server.request("HEAD", f"/v2/{repository}/blobs/{digest}", follow=False)
    assert head.status == 200 and head.headers["content-length"] == str(len(LARGE)) and "location" not in head.headers


def test_a_small_blob_comes_from_the_registry(server, repository):
    for size in (100, 1 << 19):
        data = os.urandom(size)
        assert get(server, repository, server.push_blob(repository, data)).body == data


def test_a_known_blob_is_not_redirected(server, repository):
    digest = server.push_blob(repository, LARGE)
    assert get(server, repository, digest, **{"If-None-Match": f'"{digest}"'}).status == 304


def test_the_url_is_the_objects_alone(server, repository):
    """Nothing but what was signed can be had with it."""
    answer = get(server, repository, server.push_blob(repository, LARGE))
    url = answer.headers["location"]
    other = server.push_blob(repository, LARGE + b"x")
    key = get(server, repository, other).headers["location"].split("?")[0]
    answer.headers["location"] = f"{key}?{url.split('?')[1]}"
    assert elsewhere(answer).status == 403
    answer.headers["location"] = url
    assert elsewhere(answer, method="PUT").status == 403


@pytest.mark.parametrize(
    "settings, forwarded, is_redirected",
    [
        ({"downloads.redirect": "false"}, None, False),
        ({"downloads.redirect-from-bytes": 1 << 21}, None, False),
        ({"downloads.proxy-networks": "127.0.0.0/8"}, None, False),
        ({"downloads.proxy-networks": "10.0.0.0/8"}, None, True),
        # A header that anybody can send is believed only of a proxy that we trust.
        ({"downloads.proxy-networks": "10.0.0.0/8"}, "10.1.2.3", True),
        ({"downloads.proxy-networks": "10.0.0.0/8", "downloads.trusted-proxies": "127.0.0.1"}, "10.1.2.3", False),
        ({"downloads.proxy-networks": "10.0.0.0/8", "downloads.trusted-proxies": "127.0.0.1"}, "192.0.2.1", True),
        ({"downloads.proxy-networks": "10.0.0.0/8", "downloads.trusted-proxies": "127.0.0.1"}, "10.9.9.9, 192.0.2.1", True),
        ({"downloads.proxy-networks": "fd00::/8", "downloads.trusted-proxies": "127.0.0.1"}, "fd12::7", False),
    ],
)
def test_clients_that_do_not_reach_the_store(fresh, settings, forwarded, is_redirected):
    server = fresh(**settings)
    digest = server.push_blob("a", LARGE)
    answer = get(server, "a", digest, **({"X-Forwarded-For": forwarded} if forwarded else {}))
    assert answer.status == (307 if is_redirected else 200)
    if not is_redirected:
        assert answer.body == LARGE
        part = get(server, "a", digest, Range="bytes=-4", **({"X-Forwarded-For": forwarded} if forwarded else {}))
        assert part.status == 206 and part.body == LARGE[-4:]
    assert sha256(server.request("GET", f"/v2/a/blobs/{digest}").body) == digest


def test_a_chunk_should_be_as_large_as_a_part(server, repository):
    opened = server.request("POST", f"/v2/{repository}/blobs/uploads/")
    assert opened.headers["oci-chunk-min-length"] == str(8 << 20)


@pytest.mark.parametrize(
    "cuts",
    [[16 << 20], [(16 << 20) + 1], [40 << 20], [5, (20 << 20) + 5], [8 << 20, 16 << 20, 24 << 20], [1, 2, 3]],
    ids=str,
)
def test_an_upload_in_chunks_of_any_size(server, repository, stores, cuts):
    """Whatever the store's parts are: the object is whole, alone, and no upload in parts is left open."""
    data = os.urandom(cuts[-1] + 1234)
    at = server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
    for start, end in zip([0, *cuts], cuts):
        patch = server.request("PATCH", at, body=data[start:end], headers={"Content-Range": f"{start}-{end - 1}"})
        assert patch.status == 202 and patch.headers["range"] == f"0-{end - 1}"
        at = patch.headers["location"]
    assert server.request("PUT", f"{at}?digest={sha256(data)}", body=data[cuts[-1]:]).status == 201
    assert sha256(server.request("GET", f"/v2/{repository}/blobs/{sha256(data)}").body) == sha256(data)
    assert stores.s3.uploads(server.settings["s3.bucket"]) == []


def test_a_cancelled_upload_leaves_nothing_in_the_store(fresh, stores):
    server = fresh()
    at = server.request("POST", "/v2/a/blobs/uploads/").headers["location"]
    for start in (0, 20 << 20):
        at = server.request("PATCH", at, body=bytes(20 << 20)).headers["location"]
    assert server.request("DELETE", at).status == 204
    assert stores.objects(server) == [] and stores.s3.uploads(server.settings["s3.bucket"]) == []


def test_slow_pulls_leave_connections_to_the_store_for_everything_else(fresh):
    """Who has just begun to read slowly holds one; pushes and readiness must not wait for it, and whoever comes next not for long."""
    connections = 2
    server = fresh(downloads__redirect="false", s3__connections=connections)
    data = os.urandom(32 << 20)
    digest = server.push_blob("a", data)
    slow = []
    for _ in range(connections):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        s.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert s.recv(15) == b"HTTP/1.1 200 OK"
        slow.append(s)
    assert server.request("GET", "/readyz").status == 200
    more = server.push_blob("a", os.urandom(17 << 20))
    # Of an algorithm that was not announced: the object is read again.
    server.push_blob("a", LARGE, digest=sha512(LARGE))
    wait_until(lambda: get(server, "a", digest).body == data, "read beside the others, which take nothing")
    assert get(server, "a", more).status == 200
    for s in slow:
        s.close()
