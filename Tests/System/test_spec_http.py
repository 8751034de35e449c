"""HTTP itself: the envelope, connections, and requests that are none."""
import json
import os
import socket
import time

import pytest

from harness import sha256

pytestmark = pytest.mark.seaweedfs


@pytest.mark.parametrize("method,path,status,code", [
    ("GET", "/", 404, "NOT_FOUND"), ("GET", "/v1/", 404, "NOT_FOUND"), ("GET", "/v2/a", 404, "NOT_FOUND"),
    ("POST", "/v2/", 405, "UNSUPPORTED"), ("PATCH", "/v2/a/manifests/v1", 405, "UNSUPPORTED"),
    ("POST", "/v2/a/tags/list", 405, "UNSUPPORTED"), ("PUT", "/healthz", 405, "UNSUPPORTED"),
    ("GET", "/v2/UPPER/tags/list", 400, "NAME_INVALID"), ("GET", "/v2/a//b/tags/list", 400, "NAME_INVALID"),
    ("PUT", "/v2/UPPER/manifests/v1", 400, "NAME_INVALID"), ("POST", "/v2/a..b/blobs/uploads/", 400, "NAME_INVALID"),
    ("GET", "/v2/" + "a" * 256 + "/tags/list", 400, "NAME_INVALID"), ("GET", "/v2/%zz", 400, "REQUEST_INVALID"),
    ("GET", "/v2/a/blobs/sha256:0", 400, "DIGEST_INVALID"), ("GET", "/v2/a/blobs/x", 400, "DIGEST_INVALID"),
])
def test_every_error_is_in_the_envelope(server, method, path, status, code):
    got = server.request(method, path)
    assert (got.status, got.codes) == (status, [code])
    assert got.headers["content-type"] == "application/json"
    assert got.json()["errors"][0]["message"]
    if status == 405:
        assert got.headers["allow"]


def test_base_and_extensions(server):
    base = server.request("GET", "/v2/")
    assert base.status == 200 and base.headers["docker-distribution-api-version"] == "registry/2.0"
    assert server.request("GET", "/v2").status == 200
    assert server.request("GET", "/v2/_oci/ext/discover").json() == {"extensions": []}


def test_containerd_mirrors_add_ns(server, repository):
    digest, _ = server.push_image(repository, "v1")
    assert server.request("GET", f"/v2/{repository}/manifests/v1?ns=docker.io").status == 200


@pytest.mark.parametrize("path", ["/v2/", "/v2/a/tags/list", "/nothing", "/healthz", "/metrics", "/v2/_catalog"])
def test_head_has_no_body(server, path):
    out = server.raw(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ") and body == b""


def test_keep_alive_and_pipelining(server):
    one = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    out = server.raw(one * 5 + last)
    assert out.count(b"HTTP/1.1 200 OK") == 6
    assert out.lower().count(b"connection: close") == 1
    assert out.endswith(b"ok\n")


def test_http_1_0(server):
    out = server.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b" 200 " in out.split(b"\r\n")[0] and out.endswith(b"ok\n")


def test_client_that_half_closes_gets_its_answer(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        out = b""
        while chunk := s.recv(4096):
            out += chunk
    assert out.endswith(b"ok\n")


def test_expect_100_continue(server, repository):
    location = server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.sendall(
            f"PUT {location}?digest={sha256(b'hello')} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        assert s.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"hello")
        assert s.recv(4096).startswith(b"HTTP/1.1 201 Created")


def test_expect_100_continue_refused_early(server):
    out = server.raw(
        b"PUT /v2/UPPER/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
    )
    assert out.startswith(b"HTTP/1.1 400") and b"NAME_INVALID" in out and b"100 Continue" not in out


@pytest.mark.parametrize("size", [0, 1000, 900_000])
def test_early_error_with_a_small_body_keeps_the_connection(server, size):
    """The body that nobody reads is drained, so that the client sees the error and goes on on the same connection."""
    request = f"PUT /v2/UPPER/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    out = server.raw(request + b"x" * size + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"NAME_INVALID" in out and out.endswith(b"ok\n")


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
def test_early_error_is_seen_by_a_client_that_first_sends_its_large_body(server, headers):
    size = 20_000_000
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"PUT /v2/UPPER/manifests/v1 HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (headers, size))
        time.sleep(0.2)  # the answer and the end of the server's sending are there before the body is
        s.sendall(b"x" * size)
        assert s.recv(65536).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("request_bytes", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nBad Header\r\n\r\n",
])
def test_what_is_no_request_gets_a_400(server, request_bytes):
    out = server.raw(request_bytes)
    assert out.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(out.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "REQUEST_INVALID"


def test_oversize_headers(server):
    out = server.raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 431")
    assert json.loads(out.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "HEADER_TOO_LARGE"


def test_request_id_is_answered(server):
    assert server.request("GET", "/v2/", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert server.request("GET", "/v2/").headers["x-request-id"]


def test_metrics_are_prometheus_text(server):
    server.request("GET", "/v2/")
    metrics = server.metrics()
    assert metrics['strata_http_requests_total{route="base",method="GET",status="200"}'] >= 1
    assert any(name.startswith("strata_sql_") for name in metrics) and "strata_http_connections" in metrics
