"""Signed URLs of a CDN, and the edge in deploy/edge that serves them from a private bucket."""
import concurrent.futures
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import uuid
from urllib.parse import urlsplit

import pytest

from edge import SECRET, Edge, cloudfront_url, hmac_url, rsa_key
from faultproxy import HTTPProxy
from harness import BINARY, Server, sha256
from services import ROOT, RadosGateway, SeaweedFS

SLICE = 4 << 20
PREFIX, PATH = "registry/", "/blobs"


class Stack:
    """An object store, the edge in front of a bucket of its, and servers that sign URLs in each of the two ways."""

    def __init__(self, store, edge, folder, servers):
        self.store, self.edge, self.folder, self.servers = store, edge, folder, servers
        self.bucket = edge.values["EDGE_BUCKET"]

    def put(self, content: bytes) -> str:
        """An object that is in the bucket and in no cache; returns its URL without a signature."""
        key = uuid.uuid4().hex
        self.store.client().put_object(Bucket=self.bucket, Key=f"{PREFIX}{key[:2]}/{key}", Body=content)
        return f"{self.edge.url}/{PREFIX}{key[:2]}/{key}"

    def sign(self, scheme: str, url: str, **details) -> str:
        if scheme == "hmac":
            return hmac_url(url, **details)
        return cloudfront_url(url, self.folder / "private.pem", **details)


def key_of(url: str) -> str:
    return urlsplit(url).path.split("/")[-1]


@pytest.fixture(scope="module", params=[RadosGateway, SeaweedFS], ids=["ceph", "seaweedfs"])
def stack(request):
    with tempfile.TemporaryDirectory(prefix="strata-edge-keys-") as name, request.param() as store:
        folder = pathlib.Path(name)
        edge = Edge(store, store.bucket(), prefix=PREFIX, path=PATH)
        (folder / "secret").write_bytes(SECRET + b"\n")
        edge.add_key("K1.hmac", SECRET + b"\n")
        edge.add_key("KCF1.pem", rsa_key(folder / "private.pem"))
        with edge:
            common = {**store.settings(edge.values["EDGE_BUCKET"]), "s3.prefix": PREFIX, "downloads.cdn-url": edge.url}
            hmac = {"downloads.cdn-key-id": "K1", "downloads.cdn-key": folder / "secret"}
            cloudfront = {"downloads.cdn-key-id": "KCF1", "downloads.cdn-key": folder / "private.pem",
                          "downloads.cdn-signature": "cloudfront"}
            with Server(settings={**common, **hmac}) as a, Server(settings={**common, **cloudfront}) as b:
                yield Stack(store, edge, folder, {"hmac": a, "cloudfront": b})


CONTENT = os.urandom(2 * SLICE + 1234)


@pytest.fixture(scope="module")
def known(stack):
    """The URL of an object of two slices and a bit, signed."""
    return hmac_url(stack.put(CONTENT))


# -- Strata signs


@pytest.mark.parametrize("scheme", ["hmac", "cloudfront"])
def test_pull_follows_the_redirect_to_the_edge(stack, scheme):
    server, content = stack.servers[scheme], os.urandom(SLICE + 99)
    digest = server.push_blob("team/app", content)
    answer = server.request("GET", f"/v2/team/app/blobs/{digest}", follow=False)
    assert answer.status == 307 and answer.headers["cache-control"] == "no-store"
    url = answer.headers["location"]
    assert url.startswith(f"{stack.edge.url}/{PREFIX}")
    first, again = stack.edge.request("GET", url), stack.edge.request("GET", url)
    for got, cache in [(first, "MISS"), (again, "HIT")]:
        assert got.status == 200 and got.body == content
        assert got.headers["x-cache"] == cache
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert got.headers["accept-ranges"] == "bytes"
    assert len(stack.edge.fetches(key_of(url))) == 2  # of two slices, by two pulls


def test_strata_signs_as_the_documents_say(stack):
    """Byte for byte what the independent signers make of the same path, expiry and key."""
    for scheme, server in stack.servers.items():
        digest = server.push_blob("team/app", os.urandom(SLICE // 2))
        url = server.request("GET", f"/v2/team/app/blobs/{digest}", follow=False).headers["location"]
        bare = url.split("?")[0]
        expires = int(url.split("xpires=")[1].split("&")[0])
        assert 0 <= time.time() + 20 * 60 - expires < 30
        assert url == stack.sign(scheme, bare, expires=expires)


def test_small_blobs_come_from_strata(stack):
    digest = stack.servers["hmac"].push_blob("team/app", b"x" * 1000)
    assert stack.servers["hmac"].request("GET", f"/v2/team/app/blobs/{digest}", follow=False).status == 200


def test_skopeo_pulls_through_the_edge(stack, tmp_path):
    """A client that is not ours, and Go's rules for redirects."""
    server, layer = stack.servers["hmac"], os.urandom(3 << 20)
    server.push_image("team/tool", "v1", layers=[layer])
    environment = {**os.environ, "HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    (tmp_path / "auth.json").write_text("{}")
    source = f"docker://{server.host}/team/tool:v1"
    command = ["skopeo", "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/pulled"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pulled" / sha256(layer).removeprefix("sha256:")).read_bytes() == layer
    assert f"sent={len(layer)} " in (stack.edge.logs / "access.log").read_text()


# -- The edge refuses


def changed(stack, url, scheme):
    """(what, URL) of everything that is nearly right."""
    bare, query = url.split("?")
    other = stack.put(b"x" * 100)
    folder, key = bare.rsplit("/", 1)
    yield "no signature", bare
    yield "an empty query", bare + "?"
    yield "another object", url.replace(bare, other)
    yield "a later expiry", url.replace("xpires=1", "xpires=2")
    yield "a signature of another length", url.replace("ignature=", "ignature=A")
    for place in [0, 20, 42]:
        start = url.index("ignature=") + len("ignature=") + place
        yield f"character {place} of the signature", url[:start] + ("A" if url[start] != "A" else "B") + url[start + 1:]
    yield "one thing more", url + "&x=1"
    yield "one thing twice", url + "&" + query.split("&")[0]
    yield "another order", bare + "?" + "&".join(reversed(query.split("&")))
    yield "the path written otherwise", url.replace(f"/{PREFIX}", f"/{PREFIX[:-2]}%{ord(PREFIX[-2]):x}/")
    yield "a detour", url.replace(f"/{PREFIX}", f"/{PREFIX}../{PREFIX}")
    yield "a double slash", url.replace(f"/{PREFIX}", f"//{PREFIX}")
    def sign(url, **details):
        return stack.sign(scheme, url, **details)

    yield "expired", sign(bare, expires=int(time.time()) - 1)
    yield "expires now", sign(bare, expires=int(time.time()))
    yield "an unknown key", sign(bare, key_id="K9")
    yield "a key outside the folder", sign(bare, key_id="../keys/K1" if scheme == "hmac" else "../keys/KCF1")
    # Signed well, but no name that Strata gives.
    yield "a name too short", sign(f"{folder}/{key[:-1]}")
    yield "a name in the wrong folder", sign(f"{folder[:-2]}zz/{key}")
    yield "a name without the prefix", sign(bare.replace(PREFIX, ""))
    yield "the folder itself", sign(folder + "/")
    yield "a detour, signed", sign(bare.replace(f"/{PREFIX}", f"/{PREFIX}../{PREFIX}"))


@pytest.mark.parametrize("scheme", ["hmac", "cloudfront"])
def test_anything_but_a_good_url_is_403(stack, scheme):
    """Also when the object is in the cache, which must not be asked before the signature is."""
    bare = stack.put(os.urandom(1000))
    url = stack.sign(scheme, bare)
    assert stack.edge.request("GET", url).status == 200
    wrong = []
    for what, target in changed(stack, url, scheme):
        for method in ["GET", "HEAD"]:
            got = stack.edge.request(method, target)
            if got.status != 403 or "cache-control" in got.headers:
                wrong.append((what, method, got.status))
    assert wrong == []
    assert stack.edge.request("GET", url).headers["x-cache"] == "HIT"


@pytest.mark.parametrize("target", ["/", "/blobs", "/.verify", "/healthz/x", "/blobs/registry/", "/favicon.ico"])
def test_paths_that_are_no_objects_are_403(stack, target):
    assert stack.edge.request("GET", target).status in ([404] if target == "/.verify" else [403])


def test_a_path_above_the_root_is_refused(stack, known):
    assert stack.edge.request("GET", f"/../..{urlsplit(known).path}?{urlsplit(known).query}").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
def test_other_methods_are_405(stack, known, method):
    got = stack.edge.request(method, known)
    assert got.status == 405 and got.headers["allow"] == "GET, HEAD"
    assert stack.edge.request("GET", known).body == CONTENT


def test_a_key_counts_while_its_file_is_there(stack):
    """Rotation: a new key before it is used, an old one until its last URL is over; no restart, no reload."""
    url = stack.put(b"y" * 1000)
    old, new = hmac_url(url), hmac_url(url, key_id="K-2_new", secret=b"n" * 32)
    assert [stack.edge.request("GET", u).status for u in (old, new)] == [200, 403]
    stack.edge.add_key("K-2_new.hmac", b"n" * 32)
    assert [stack.edge.request("GET", u).status for u in (old, new)] == [200, 200]
    (stack.edge.config / "keys" / "K-2_new.hmac").unlink()
    assert [stack.edge.request("GET", u).status for u in (old, new)] == [200, 403]


def test_a_short_key_is_no_key(stack):
    stack.edge.add_key("short.hmac", b"s" * 31 + b"\n")
    assert stack.edge.request("GET", hmac_url(stack.put(b"z"), key_id="short", secret=b"s" * 31)).status == 403


# -- The edge serves


@pytest.mark.parametrize("header,first,last", [
    ("bytes=0-0", 0, 1), ("bytes=-1", len(CONTENT) - 1, len(CONTENT)),
    ("bytes=-5000000", len(CONTENT) - 5000000, len(CONTENT)),
    ("bytes=100-", 100, len(CONTENT)), (f"bytes={SLICE - 5}-{SLICE + 4}", SLICE - 5, SLICE + 5),
    (f"bytes={2 * SLICE}-", 2 * SLICE, len(CONTENT)), ("bytes=0-999999999", 0, len(CONTENT)),
])
def test_range(stack, known, header, first, last):
    got = stack.edge.request("GET", known, {"Range": header})
    assert got.status == 206 and got.body == CONTENT[first:last]
    assert got.headers["content-range"] == f"bytes {first}-{last - 1}/{len(CONTENT)}"
    assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert got.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("header", [f"bytes={len(CONTENT)}-", f"bytes={10 * SLICE}-"])
def test_range_outside_is_416(stack, known, header):
    got = stack.edge.request("GET", known, {"Range": header})
    assert got.status == 416 and b"<Error>" not in got.body


def test_head_is_get_without_a_body(stack, known):
    got, head = stack.edge.request("GET", known), stack.edge.request("HEAD", known)
    assert head.status == 200 and head.body == b""
    for name in ["content-length", "etag", "content-type", "cache-control", "accept-ranges"]:
        assert head.headers[name] == got.headers[name]
    assert head.headers["content-length"] == str(len(CONTENT))


def test_known_content_is_304(stack, known):
    tag = stack.edge.request("HEAD", known).headers["etag"]
    assert stack.edge.request("GET", known, {"If-None-Match": tag}).status == 304


def test_any_good_signature_finds_the_same_cache(stack):
    url = stack.put(os.urandom(1000))
    later = hmac_url(url, expires=int(time.time()) + 900)
    asked = [hmac_url(url), later, stack.sign("cloudfront", url)]
    assert [stack.edge.request("GET", u).headers["x-cache"] for u in asked] == ["MISS", "HIT", "HIT"]
    assert len(stack.edge.fetches(key_of(url))) == 1


def test_a_missing_object_is_404_without_the_store_s_words(stack):
    got = stack.edge.request("GET", hmac_url(f"{stack.edge.url}/{PREFIX}ab/ab{'0' * 30}"))
    assert got.status == 404 and b"<Code>" not in got.body and stack.bucket.encode() not in got.body
    assert "cache-control" not in got.headers


# -- The origin


def test_many_who_want_the_same_object_cost_it_once(stack):
    content = os.urandom(10 * SLICE)
    url = stack.put(content)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        bodies = list(pool.map(lambda _: sha256(stack.edge.request("GET", hmac_url(url)).body), range(32)))
    print(f"\n32 cold GETs of {len(content) >> 20} MiB: {time.monotonic() - started:.1f} s")
    assert set(bodies) == {sha256(content)}
    fetches = stack.edge.fetches(key_of(url))
    assert len(fetches) == 10 and {f["status"] for f in fetches} == {206}
    # The bodies and at most a KiB of headers each.
    assert len(content) <= sum(f["bytes"] for f in fetches) < len(content) + 10 * 1024


def test_ranges_cost_only_the_slices_that_they_touch(stack):
    url, content = hmac_url(stack.put(CONTENT)), CONTENT[SLICE + 1000:SLICE + 2000]
    headers = {"Range": f"bytes={SLICE + 1000}-{SLICE + 1999}"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: stack.edge.request("GET", url, headers).body, range(8))) == {content}
    assert [f["range"] for f in stack.edge.fetches(key_of(url))] == [f"bytes={SLICE}-{2 * SLICE - 1}"]


def test_a_client_that_leaves_spoils_nothing(stack):
    url = hmac_url(stack.put(CONTENT))
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port)) as s:
        s.sendall(f"GET {at.path}?{at.query} HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode())
        assert s.recv(100_000).startswith(b"HTTP/1.1 200")
    got = stack.edge.request("GET", url)
    assert got.status == 200 and got.body == CONTENT


class Way:
    """A way to a server: with so many bytes a second back on each connection, or with TLS."""

    def __init__(self, port: int, rate=None, tls=None):
        self.server, self.rate, self.tls = ("127.0.0.1", port), rate, tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self.join, args=(client,), daemon=True).start()

    def join(self, client):
        with contextlib.suppress(OSError):
            client = self.tls.wrap_socket(client, server_side=True) if self.tls else client
            store = socket.create_connection(self.server)
            threading.Thread(target=self.copy, args=(client, store, None), daemon=True).start()
            self.copy(store, client, self.rate)

    def copy(self, source, target, rate):
        with contextlib.suppress(OSError):
            while chunk := source.recv(rate // 10 if rate else 65536):
                target.sendall(chunk)
                time.sleep(len(chunk) / rate if rate else 0)
        for s in (source, target):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


def test_a_download_that_began_in_time_goes_on_and_each_slice_is_signed_when_it_is_fetched(stack):
    """A signature for the bucket is good for 15 minutes, and a large object may take longer to fetch."""
    content = os.urandom(4 * SLICE)
    bare = stack.put(content)
    way = Way(stack.store.port, rate=4 << 20)
    edge = Edge(stack.store, stack.bucket, prefix=PREFIX)
    edge.values["EDGE_ORIGIN_SERVER"] = f"127.0.0.1:{way.port}"
    edge.add_key("K1.hmac", SECRET)
    with contextlib.closing(way.listener), edge:
        url = hmac_url(bare.replace(stack.edge.url, edge.url), expires=int(time.time()) + 2)
        got = edge.request("GET", url)
        assert got.status == 200 and got.body == content
        assert edge.request("GET", url).status == 403
        signed = [f["signed"] for f in edge.fetches(key_of(url))]
        assert len(signed) == 4 and len(set(signed)) >= 3


def certificate(folder, name):
    """Makes one that vouches for itself; returns its file and that of its key."""
    files = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )
    files[1].chmod(0o644)
    return files


def test_with_tls_on_both_sides(stack, tmp_path):
    """And a store that shows a certificate of another name is not read from."""
    for_clients, for_edge = certificate(tmp_path, "localhost"), certificate(tmp_path, "store.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*for_edge)
    way = Way(stack.store.port, tls=server)
    bare, content = stack.put(CONTENT), CONTENT
    for name, status in [("store.test", 200), ("other.test", 502)]:
        edge = Edge(stack.store, stack.bucket, prefix=PREFIX)
        edge.url = f"https://localhost:{edge.port}"
        edge.values.update({
            "EDGE_LISTEN": f"127.0.0.1:{edge.port} ssl http2", "EDGE_URL": edge.url, "EDGE_ORIGIN_SCHEME": "https",
            "EDGE_ORIGIN_HOST": f"{name}:{way.port}", "EDGE_ORIGIN_SERVER": f"127.0.0.1:{way.port}",
            "EDGE_ORIGIN_CA": edge.config / for_edge[0].name,
        })
        edge.add_key("KCF1.pem", (stack.edge.config / "keys/KCF1.pem").read_bytes())
        shutil.copy(for_edge[0], edge.config)
        files = [shutil.copy(file, edge.config) for file in for_clients]
        (edge.config / "tls.conf").write_text("ssl_certificate {};\nssl_certificate_key {};\n".format(*files))
        with edge:
            url = stack.sign("cloudfront", bare.replace(stack.edge.url, edge.url))
            command = ["curl", "-sS", "--http2", "--cacert", for_clients[0], "-o", tmp_path / "got", "-w",
                       "%{http_version} %{http_code}", url]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.stdout == f"2 {status}", done.stderr
            assert ((tmp_path / "got").read_bytes() == content) == (status == 200)
    way.listener.close()


def test_the_bucket_is_private(stack, known):
    path = urlsplit(known).path.removeprefix(PATH)
    connection = http.client.HTTPConnection("127.0.0.1", stack.store.port, timeout=10)
    connection.request("GET", f"/{stack.bucket}{path}")
    assert connection.getresponse().status == 403
    connection.close()


def test_what_a_client_sends_along_does_not_reach_the_store(stack):
    """A store answers 400 to a URL that is signed and comes with a password; the edge signs for itself."""
    content = os.urandom(2000)
    url = stack.put(content)
    leaked = {"Authorization": "Basic dTpw", "Cookie": "a=b", "If-None-Match": '"x"', "X-Amz-Date": "1"}
    assert stack.edge.request("GET", hmac_url(url), leaked).body == content
    name = urlsplit(url).path.removeprefix(PATH + "/")
    parameters = {"Bucket": stack.bucket, "Key": name}
    direct = urlsplit(stack.store.client().generate_presigned_url("get_object", Params=parameters))
    statuses = []
    for headers in [{}, {"Authorization": "Basic dTpw"}]:
        connection = http.client.HTTPConnection(direct.hostname, direct.port, timeout=10)
        connection.request("GET", f"{direct.path}?{direct.query}", headers=headers)
        statuses.append(connection.getresponse().status)
        connection.close()
    # Ceph does as AWS does.
    assert statuses == [200, 400 if isinstance(stack.store, RadosGateway) else 200]


def test_a_store_that_refuses_the_edge_is_502_without_its_words(stack):
    url, credentials = hmac_url(stack.put(b"x" * 100)), stack.edge.config / "credentials"
    right = credentials.read_text()
    credentials.write_text(right.replace("\n", "x\n"))
    got = stack.edge.request("GET", url)
    credentials.write_text(right)
    assert got.status == 502 and b"<Code>" not in got.body and "cache-control" not in got.headers
    assert [f["status"] for f in stack.edge.fetches(key_of(url))] == [403]
    assert stack.edge.request("GET", url).status == 200


def test_logs_hold_no_signature(stack, known):
    """Nor do they where something goes wrong: what was fetched breaks off, the store is away, a key is none."""
    bare = known.split("?")[0]
    with HTTPProxy(stack.store.port) as way:
        edge = Edge(stack.store, stack.bucket, prefix=PREFIX, path=PATH)
        edge.values["EDGE_ORIGIN_SERVER"] = f"127.0.0.1:{way.port}"
        edge.add_key("K1.hmac", SECRET)
        edge.add_key("SHORT.hmac", b"short")
        with edge:
            url = bare.replace(stack.edge.url, edge.url)
            way.fault("^GET ", "reset-answer", after=SLICE // 2)
            with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
                edge.request("GET", hmac_url(url))
            way.refuses = True
            way.reset_all()
            assert edge.request("GET", hmac_url(url), {"Range": f"bytes={SLICE}-"}).status == 502
            way.refuses = False
            assert edge.request("GET", hmac_url(url, key_id="SHORT", secret=b"short")).status == 403
            assert edge.request("GET", hmac_url(url)).body == CONTENT
            logs = {name: (edge.logs / name).read_text() for name in ["access.log", "origin.log", "error.log"]}
    for text in logs.values():
        assert key_of(known) in text and "ignature" not in text and "AWS4" not in text
    assert 'fault="the URL could not be checked: Error: the HMAC key has fewer than 32 bytes"' in logs["access.log"]
    assert "upstream prematurely closed" in logs["error.log"] or "Connection reset" in logs["error.log"]


def test_the_readme_names_every_value():
    folder = ROOT / "deploy/edge"
    used = set(re.findall(r"\$\{(EDGE_[A-Z_]+)\}", (folder / "nginx.conf").read_text()))
    named = set(re.findall(r"(EDGE_[A-Z_]+)=", (folder / "README.md").read_text()))
    assert used == named and len(used) > 10


# -- Strata at start


def check(stack, **settings) -> str:
    """What `strata config check` and `strata serve` say; both must refuse, and in the same words."""
    settings = {**stack.store.settings(stack.bucket), "downloads.cdn-url": "https://cdn.example.net",
                "downloads.cdn-key-id": "K1", **{f"downloads.{k.replace('_', '-')}": v for k, v in settings.items()}}
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    said = []
    with tempfile.TemporaryDirectory(prefix="strata-edge-") as data:
        for command in [["config", "check"], ["serve", "--listen", "127.0.0.1:0", "--data", data]]:
            done = subprocess.run([BINARY, *command, *options], capture_output=True, text=True, timeout=20)
            assert done.returncode != 0, done.stdout
            said.append(done.stderr.splitlines()[-1])
    assert said[0] == said[1]
    return said[0]


def test_a_key_that_cannot_be_used_is_told_at_start(stack, tmp_path):
    key = tmp_path / "key"
    assert f"The file {key} that 'downloads.cdn-key' names is missing or not readable." in check(stack, cdn_key=key)
    key.write_bytes(b"0123456789abcdef0123456789abcde\n")
    told = check(stack, cdn_key=key)
    assert f"The file {key} that 'downloads.cdn-key' names cannot be used" in told and "31 bytes" in told
    assert "no private key in PEM" in check(stack, cdn_key=key, cdn_signature="cloudfront")
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    assert "not an RSA key" in check(stack, cdn_key=key, cdn_signature="cloudfront")


@pytest.mark.parametrize("name,warns", [
    ("registry.example.com", True), ("cdn.registry.example.com", True),
    ("cdn.example.com", False), ("example.com", False),
])
def test_a_blob_host_below_the_registry_is_warned_of(stack, tmp_path, name, warns):
    """Clients would send it what is for the registry."""
    (tmp_path / "key").write_bytes(SECRET)
    settings = {**stack.store.settings(stack.bucket), "downloads.cdn-url": f"http://{name}:81/x",
                "downloads.cdn-key-id": "K1", "downloads.cdn-key": tmp_path / "key",
                "external-url": "https://registry.example.com"}
    with Server(settings=settings) as server:
        lines = [line for line in server.log_text().splitlines() if "clients may send their credentials" in line]
    assert len(lines) == warns
    assert all(name in line and "docs/downloads.md" in line for line in lines)


# -- Last, as the store is gone afterwards


@pytest.mark.parametrize("stack", [SeaweedFS], indirect=True, ids=["seaweedfs"])
def test_without_the_store_what_is_cached_is_served(stack, known):
    assert stack.edge.request("GET", known).body == CONTENT
    cold = hmac_url(stack.put(CONTENT))
    stack.store.kill()
    assert stack.edge.request("GET", known).body == CONTENT
    assert stack.edge.request("GET", cold).status in (502, 504)
