"""Pushing blobs: every shape of upload that clients use, over a real socket."""
import os

import pytest

from harness import sha256, sha512

pytestmark = pytest.mark.seaweedfs


def begin(server, repository, query=""):
    opened = server.request("POST", f"/v2/{repository}/blobs/uploads/{query}")
    assert opened.status == 202
    assert opened.headers["range"] == "0-0"
    assert opened.headers["docker-upload-uuid"]
    assert int(opened.headers["oci-chunk-min-length"]) >= 1
    assert opened.headers["location"].startswith(f"/v2/{repository}/blobs/uploads/")
    return opened.headers["location"]


def pulled(server, repository, digest):
    response = server.request("GET", f"/v2/{repository}/blobs/{digest}")
    assert response.status == 200, response
    return response.body


def assert_absent(server, repository, digest):
    assert server.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 404


SIZES = [0, 1, 16 * 1024, 16 * 1024 + 1, 300_000, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_post_then_put(server, repository, size):
    """containerd, oras, regctl: POST, then one PUT with the body."""
    data = os.urandom(size)
    assert pulled(server, repository, server.push_blob(repository, data)) == data


@pytest.mark.parametrize("size", SIZES)
def test_single_post(server, repository, size):
    data = os.urandom(size)
    put = server.request("POST", f"/v2/{repository}/blobs/uploads/?digest={sha256(data)}", body=data)
    assert put.status == 201
    assert put.headers["docker-content-digest"] == sha256(data)
    assert put.headers["location"] == f"/v2/{repository}/blobs/{sha256(data)}"
    assert pulled(server, repository, sha256(data)) == data


@pytest.mark.parametrize("size", SIZES)
def test_chunked_transfer_without_a_length(server, repository, size):
    """docker: POST, PATCH with Transfer-Encoding: chunked and no length, PUT without a body, then HEAD."""
    data = os.urandom(size)
    location = begin(server, repository)
    pieces = (data[i:i + 32768] for i in range(0, len(data), 32768))
    patched = server.request("PATCH", location, body=pieces, chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert patched.status == 202
    assert patched.headers["range"] == f"0-{max(size - 1, 0)}"
    put = server.request("PUT", f"{patched.headers['location']}?digest={sha256(data)}", body=b"")
    assert put.status == 201
    head = server.request("HEAD", f"/v2/{repository}/blobs/{sha256(data)}")
    assert head.status == 200 and head.headers["content-length"] == str(size) and head.body == b""
    assert pulled(server, repository, sha256(data)) == data


def test_chunks_with_content_range(server, repository):
    """regclient: chunks that say where they begin, the last of them with the PUT."""
    data = os.urandom(100_000)
    location = begin(server, repository)
    for start in (0, 10_000, 50_000):
        end = {0: 10_000, 10_000: 50_000, 50_000: 90_000}[start]
        patched = server.request(
            "PATCH", location, body=data[start:end], headers={"Content-Range": f"{start}-{end - 1}"}
        )
        assert patched.status == 202 and patched.headers["range"] == f"0-{end - 1}"
        location = patched.headers["location"]
    put = server.request(
        "PUT", f"{location}?digest={sha256(data)}", body=data[90_000:], headers={"Content-Range": "90000-99999"}
    )
    assert put.status == 201
    assert pulled(server, repository, sha256(data)) == data


@pytest.mark.parametrize("start", [0, 5, 15, 100])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_chunk_out_of_order_keeps_the_session(server, repository, method, start):
    """416 with Location and Range; the session goes on where it stood."""
    data = os.urandom(20)
    location = begin(server, repository)
    server.request("PATCH", location, body=data[:10], headers={"Content-Range": "0-9"})
    query = f"?digest={sha256(data)}" if method == "PUT" else ""
    wrong = server.request(
        method, location + query, body=b"x" * 5, headers={"Content-Range": f"{start}-{start + 4}"}
    )
    assert wrong.status == 416
    assert wrong.headers["range"] == "0-9" and wrong.headers["location"] == location
    assert wrong.codes == ["BLOB_UPLOAD_INVALID"]
    put = server.request(
        "PUT", f"{location}?digest={sha256(data)}", body=data[10:], headers={"Content-Range": "10-19"}
    )
    assert put.status == 201
    assert pulled(server, repository, sha256(data)) == data


@pytest.mark.parametrize("text", ["x", "9-0", "-5", "0-"])
def test_malformed_content_range(server, repository, text):
    location = begin(server, repository)
    wrong = server.request("PATCH", location, body=b"12345", headers={"Content-Range": text})
    assert wrong.status == 400 and wrong.codes == ["BLOB_UPLOAD_INVALID"]


@pytest.mark.parametrize("size", [10, 100_000])
def test_content_range_must_fit_the_body(server, repository, size):
    """A chunk of another length than it says is refused and nothing of it is kept, in memory or in a file."""
    data = os.urandom(size)
    location = begin(server, repository)
    wrong = server.request("PATCH", location, body=data, headers={"Content-Range": f"0-{size}"})
    assert wrong.status == 400 and wrong.codes == ["SIZE_INVALID"]
    wrong = server.request(
        "PATCH", location, body=iter([data]), chunked=True,
        headers={"Content-Range": f"0-{size}", "Transfer-Encoding": "chunked"},
    )
    assert wrong.status == 400 and wrong.codes == ["SIZE_INVALID"]
    put = server.request("PUT", f"{location}?digest={sha256(data)}", body=data)
    assert put.status == 201
    assert pulled(server, repository, sha256(data)) == data


def test_status_and_cancel(server, repository):
    location = begin(server, repository)
    assert server.request("GET", location).status == 204
    server.request("PATCH", location, body=b"12345")
    status = server.request("GET", location)
    assert status.status == 204 and status.headers["range"] == "0-4" and status.body == b""
    assert server.request("DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        gone = server.request(method, location)
        assert gone.status == 404 and gone.codes == ["BLOB_UPLOAD_UNKNOWN"]


@pytest.mark.parametrize("id", ["x", "0" * 74, "../../etc", "%00"])
def test_unknown_session(server, repository, id):
    assert server.request("PATCH", f"/v2/{repository}/blobs/uploads/{id}", body=b"x").status == 404


def test_session_of_another_repository(server, repository):
    location = begin(server, repository)
    elsewhere = location.replace(repository, repository + "-other")
    assert server.request("PATCH", elsewhere, body=b"x").status == 404


@pytest.mark.parametrize("size", [5, 100_000])
def test_wrong_digest_stores_nothing(server, repository, size):
    data = os.urandom(size)
    location = begin(server, repository)
    wrong = server.request("PUT", f"{location}?digest={sha256(b'other')}", body=data)
    assert wrong.status == 400 and wrong.codes == ["DIGEST_INVALID"]
    assert_absent(server, repository, sha256(data))
    assert_absent(server, repository, sha256(b"other"))
    assert server.request("GET", location).status == 404


@pytest.mark.parametrize("digest", ["", "sha256", "sha256:abc", "md5:" + "a" * 32, "sha1:" + "a" * 40])
def test_digest_that_is_none(server, repository, digest):
    location = begin(server, repository)
    wrong = server.request("PUT", f"{location}?digest={digest}", body=b"x")
    assert wrong.status == 400 and wrong.codes == ["DIGEST_INVALID"]
    assert server.request("PUT", location, body=b"x").codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("announced", [True, False])
def test_sha512(server, repository, size, announced):
    """With digest-algorithm the hash runs along; without, the content is read once more."""
    data = os.urandom(size)
    location = begin(server, repository, "?digest-algorithm=sha512" if announced else "")
    server.request("PATCH", location, body=data[:3])
    put = server.request("PUT", f"{location}?digest={sha512(data)}", body=data[3:])
    assert put.status == 201 and put.headers["docker-content-digest"] == sha512(data)
    assert pulled(server, repository, sha512(data)) == data


def test_unknown_algorithm(server, repository):
    wrong = server.request("POST", f"/v2/{repository}/blobs/uploads/?digest-algorithm=md5")
    assert wrong.status == 400 and wrong.codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize("received", [0, 5, 16 * 1024, 100_000])
def test_session_survives_a_crash(fresh, received):
    """After kill -9 an upload goes on at its offset: the hash in progress is kept with it."""
    server = fresh()
    data = os.urandom(received + 50_000)
    location = begin(server, "a")
    if received:
        assert server.request("PATCH", location, body=data[:received]).status == 202
    server.kill()
    server.start()
    status = server.request("GET", location)
    assert status.status == 204 and status.headers["range"] == f"0-{max(received - 1, 0)}"
    put = server.request("PUT", f"{location}?digest={sha256(data)}", body=data[received:])
    assert put.status == 201
    assert pulled(server, "a", sha256(data)) == data
    assert server.verify()[0] == 0


def test_client_that_goes_away_may_come_back(server, repository):
    """What arrived before the connection broke is kept, and the status says how much."""
    import socket
    data = os.urandom(600_000)
    location = begin(server, repository)
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:400_000])
    import time
    received = 0
    for _ in range(100):
        status = server.request("GET", location)
        received = int(status.headers["range"].split("-")[1]) + 1
        if received > 1:
            break
        time.sleep(0.05)
    assert 1 < received <= 400_000
    put = server.request("PUT", f"{location}?digest={sha256(data)}", body=data[received:])
    assert put.status == 201
    assert pulled(server, repository, sha256(data)) == data


def test_blob_limit(fresh):
    """uploads.max-bytes: the limit passes, one more is refused, with and without a length."""
    server = fresh(**{"uploads.max-bytes": 1000})
    server.push_blob("a", b"x" * 1000)
    location = begin(server, "a")
    wrong = server.request("PUT", f"{location}?digest={sha256(b'y' * 1001)}", body=b"y" * 1001)
    assert wrong.status == 400 and wrong.codes == ["SIZE_INVALID"]
    wrong = server.request(
        "PATCH", begin(server, "a"), body=iter([b"y" * 1001]), chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert wrong.status == 400 and wrong.codes == ["SIZE_INVALID"]


def test_mount_sends_no_bytes(server, repository):
    digest = server.push_blob(repository, os.urandom(50_000))
    before = server.metric("strata_blob_upload_bytes_total")
    mounted = server.request("POST", f"/v2/{repository}-b/blobs/uploads/?mount={digest}&from={repository}")
    assert mounted.status == 201
    assert mounted.headers["docker-content-digest"] == digest
    assert mounted.headers["location"] == f"/v2/{repository}-b/blobs/{digest}"
    anywhere = server.request("POST", f"/v2/{repository}-c/blobs/uploads/?mount={digest}")
    assert anywhere.status == 201
    assert server.metric("strata_blob_upload_bytes_total") == before
    assert server.request("HEAD", f"/v2/{repository}-c/blobs/{digest}").status == 200


@pytest.mark.parametrize("query", [
    "mount={d}&from=no/such", "mount={d}", "mount={d}&from=NOT-A-NAME", "mount=nonsense&from=a", "mount=&from=",
])
def test_unmountable_is_202(server, repository, query):
    """containerd and podman give up on anything else."""
    opened = server.request("POST", f"/v2/{repository}/blobs/uploads/?{query.format(d=sha256(os.urandom(8)))}")
    assert opened.status == 202 and opened.headers["location"]


def test_pushing_again_stores_nothing_twice(server, repository):
    data = os.urandom(50_000)
    server.push_blob(repository, data)
    stored = server.metrics()['strata_blob_uploads_total{outcome="stored"}']
    server.push_blob(repository + "-b", data)
    assert server.metrics()['strata_blob_uploads_total{outcome="stored"}'] == stored
    assert pulled(server, repository + "-b", sha256(data)) == data
