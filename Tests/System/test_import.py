"""strata import: content of docker-registry and of another Strata comes here, whole, once, and whatever happens."""
import json
import os
import pathlib
import subprocess
import time

import pytest

from harness import (BINARY, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
                     Server, descriptor, image_manifest, sha256, sha512)
from registries import DockerRegistry, Proxy, TokenServer, send


@pytest.fixture
def docker():
    """Starts docker-registries of a test's own."""
    started = []

    def start(auth=None, **more):
        server = DockerRegistry(**more)
        server.auth = auth
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def here():
    """A registry that is not running: `start()` makes it serve what was imported."""
    server = Server()
    yield server
    server.__exit__()


def run_import(source, here, *options, env=None):
    """(exit status, report, standard error). `source` is a registry or an address."""
    url = source if isinstance(source, str) else f"http://{source.host}"
    command = [BINARY, "import", "--from", url, "--data", here.data, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **(env or {})})
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def imported(source, here, *options, **more):
    """The counts of an import that has nothing to complain of."""
    status, report, errors = run_import(source, here, *options, **more)
    assert (status, report and report["failures"], report and report["missing"]) == (0, [], []), (report, errors)
    return report["counts"]


def assert_same(source, here, repository, reference):
    """Byte for byte the same manifest of the same type; returns it decoded."""
    accept = {"Accept": ", ".join([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST])}
    old = source.request("GET", f"/v2/{repository}/manifests/{reference}", headers=accept)
    new = here.request("GET", f"/v2/{repository}/manifests/{reference}", headers=accept)
    assert old.status == new.status == 200, (reference, old, new)
    assert (old.body, old.headers["content-type"]) == (new.body, new.headers["content-type"])
    return new.json()


def assert_blob(here, repository, data):
    got = here.request("GET", f"/v2/{repository}/blobs/{sha256(data)}")
    assert (got.status, got.body) == (200, data)


def push_index(registry, repository, tag, layers, media_type=OCI_INDEX):
    """An index of one image for each layer; returns (digest, digests of the images)."""
    images = []
    for layer in layers:
        digest, body = registry.push_image(repository, sha256_of_image(layer), layers=(layer,))
        images.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": len(body)})
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": images}).encode()
    assert registry.push_manifest(repository, tag, body, media_type).status == 201
    return sha256(body), [image["digest"] for image in images]


def sha256_of_image(layer):
    return sha256(json.dumps(image_manifest(layers=(layer,))).encode())


def push_artifact(registry, repository, subject, size, data=b"signature", reference=None):
    """A manifest about another one; returns its digest."""
    registry.push_blob(repository, b"{}")
    registry.push_blob(repository, data)
    body = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x-signature",
        "config": descriptor(b"{}", OCI_EMPTY), "layers": [descriptor(data, "application/x-signature")],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": size},
    }).encode()
    assert registry.push_manifest(repository, reference or sha256(body), body).status == 201
    return sha256(body)


def test_a_whole_docker_registry_comes_over_beside_a_running_server(docker, here):
    """Images, an index, Docker's own types, a foreign layer, signatures under a fallback tag; again does nothing."""
    old = docker()
    shared = os.urandom(300_000)
    for name in ("team/app", "team/web", "other"):
        old.push_image(name, "v1", layers=(shared, name.encode()), config=name.encode())
    old.push_image("team/app", "latest", layers=(shared, b"team/app"), config=b"team/app")
    push_index(old, "team/app", "multi", [b"amd64", b"arm64"])
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": sha256(b"windows"),
               "size": 7, "urls": ["https://example.com/windows"]}
    docker_image = json.dumps({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": descriptor(b"other", "application/vnd.docker.container.image.v1+json"), "layers": [foreign],
    }).encode()
    assert old.push_manifest("other", "windows", docker_image, DOCKER_MANIFEST).status == 201
    subject = old.request("GET", "/v2/other/manifests/v1", headers={"Accept": OCI_MANIFEST})
    signature = push_artifact(old, "other", sha256(subject.body), len(subject.body))
    listed = {"mediaType": OCI_MANIFEST, "digest": signature,
              "size": len(old.request("GET", f"/v2/other/manifests/{signature}", headers={"Accept": OCI_MANIFEST}).body)}
    fallback = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]}).encode()
    fallback_tag = sha256(subject.body).replace(":", "-")
    assert old.push_manifest("other", fallback_tag, fallback, OCI_INDEX).status == 201

    here.start()
    counts = imported(old, here)
    assert (counts["repositories"], counts["tagsImported"], counts["tagsUnchanged"]) == (3, 7, 0)
    assert old.requests("GET", sha256(shared)) == 1, "one download, mounted twice"
    assert counts["blobsMounted"] >= 2

    for repository, tag in [("team/app", "v1"), ("team/app", "latest"), ("team/web", "v1"), ("other", "v1"),
                            ("other", "windows"), ("other", fallback_tag)]:
        assert_same(old, here, repository, tag)
    for child in assert_same(old, here, "team/app", "multi")["manifests"]:
        assert_same(old, here, "team/app", child["digest"])
    for name in ("team/app", "team/web", "other"):
        assert_blob(here, name, shared)
    found = here.request("GET", f"/v2/other/referrers/{sha256(subject.body)}").json()["manifests"]
    assert [item["digest"] for item in found] == [signature]

    before = old.requests("GET", "/blobs/") + old.requests("GET", "/manifests/")
    again = imported(old, here)
    assert (again["tagsUnchanged"], again["tagsImported"], again["manifestsCopied"]) == (7, 0, 0)
    assert (again["blobsCopied"], again["bytesCopied"]) == (0, 0)
    assert old.requests("GET", "/blobs/") + old.requests("GET", "/manifests/") == before
    assert here.verify()[1]["findings"] == []


def test_another_strata_brings_referrers_sha512_and_long_lists(fresh, here):
    """Referrers without any tag, and of those; more tags and repositories than a page of the source's lists."""
    old = fresh(durability="normal")
    digest, body = old.push_image("a/image", "v1", layers=(os.urandom(100_000),))
    signature = push_artifact(old, "a/image", digest, len(body))
    push_artifact(old, "a/image", signature, 100, b"about the signature")
    layer = os.urandom(50_000)
    old.push_blob("a/long", b"{}")
    old.push_blob("a/long", layer, sha512(layer))
    strong = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(b"{}", OCI_CONFIG),
        "layers": [{"mediaType": OCI_LAYER, "digest": sha512(layer), "size": len(layer)}],
    }).encode()
    pushed = old.push_manifest("a/long", f"{sha512(strong)}?tag=strong", strong)
    assert (pushed.status, pushed.headers["docker-content-digest"]) == (201, sha512(strong))
    tagged = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    for start in range(0, 603, 50):
        tags = "&".join(f"tag=t{n}" for n in range(start, min(start + 50, 603)))
        assert old.push_manifest("many", f"{sha256(tagged)}?{tags}", tagged, OCI_INDEX).status == 201
    for n in range(150):
        assert old.push_manifest(f"list/r{n}", "v1", tagged, OCI_INDEX).status == 201

    counts = imported(old, here, "--set", "durability=normal")
    assert (counts["repositories"], counts["tagsImported"]) == (3 + 150, 2 + 603 + 150)
    here.start()
    assert_same(old, here, "a/long", sha512(strong))
    assert_same(old, here, "a/long", "strong")
    assert here.request("HEAD", f"/v2/a/long/blobs/{sha512(layer)}").status == 200
    assert len(here.request("GET", "/v2/many/tags/list").json()["tags"]) == 603
    for subject in (digest, signature):
        path = f"/v2/a/image/referrers/{subject}"
        assert here.request("GET", path).json()["manifests"] == old.request("GET", path).json()["manifests"] != []

    late = push_artifact(old, "a/image", digest, len(body), b"signed later")
    sent = 'strata_http_requests_total{{route="{}",method="GET",status="200"}}'
    before = {route: old.metrics().get(sent.format(route), 0) for route in ("manifest", "blob")}
    again = imported(old, here)
    assert (again["tagsImported"], again["manifestsCopied"], again["blobsCopied"]) == (0, 1, 1)
    after = {route: old.metrics().get(sent.format(route), 0) for route in ("manifest", "blob")}
    assert before != {"manifest": 0, "blob": 0}, "the metric is called otherwise"
    assert after == {route: count + 1 for route, count in before.items()}, "only the new signature"
    assert here.request("GET", f"/v2/a/image/manifests/{late}").status == 200
    assert here.verify()[1]["findings"] == []


def test_only_what_was_asked_for_under_another_name(docker, here):
    old = docker()
    for name in ("team/app", "team/sub/app", "other", "alone"):
        for tag in ("v1", "v2", "nightly"):
            old.push_image(name, tag, layers=(b"layer",))
    counts = imported(old, here, "--repository", "team/*", "--repository", "alone", "--tag", "v?", "--into", "old")
    assert (counts["repositories"], counts["tagsImported"]) == (3, 6)
    here.start()
    names = here.request("GET", "/v2/_catalog").json()["repositories"]
    assert names == ["old/alone", "old/team/app", "old/team/sub/app"]
    assert here.request("GET", "/v2/old/alone/tags/list").json()["tags"] == ["v1", "v2"]
    status, report, _ = run_import(old, here, "--repository", "alone", "--repository", "missing")
    assert (status, report["failureCount"], report["failures"][0]["repository"]) == (1, 1, "missing")
    assert report["counts"]["tagsImported"] == 3
    assert "no repository that was asked for" in run_import(old, here, "--repository", "nothing*")[2]


def test_a_moved_tag_follows_its_source_unless_it_is_to_be_kept(docker, here):
    old = docker()
    first, _ = old.push_image("app", "v1", layers=(b"first",))
    imported(old, here)
    second, _ = old.push_image("app", "v1", layers=(b"second",))
    old.push_image("app", "v2", layers=(b"second",))
    kept = imported(old, here, "--keep-tags")
    assert (kept["tagsKept"], kept["tagsImported"]) == (1, 1)
    here.start()
    digest = "docker-content-digest"
    assert here.request("HEAD", "/v2/app/manifests/v1").headers[digest] == first
    assert imported(old, here)["tagsImported"] == 1
    assert here.request("HEAD", "/v2/app/manifests/v1").headers[digest] == second


def test_a_source_that_dies_is_told_of_and_a_second_run_does_the_rest(docker, here):
    old = docker()
    for number in range(60):
        old.push_image("app", f"v{number}", layers=(os.urandom(500_000),))
    command = [BINARY, "import", "--from", f"http://{old.host}", "--data", here.data, "--json", "--workers", "2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while old.requests("GET", "/blobs/") < 5:
        assert running.poll() is None
        time.sleep(0.002)
    old.kill()
    output, _ = running.communicate(timeout=60)
    report = json.loads(output)
    assert running.returncode == 1
    assert "does not answer any more" in report["failures"][-1]["reason"]
    copied = report["counts"]["blobsCopied"]
    assert 3 <= copied < 61
    old.start()
    again = imported(old, here)
    assert again["tagsImported"] + again["tagsUnchanged"] == 60
    assert again["blobsCopied"] + copied == 61, "60 layers and one config, each counted as copied once"
    assert again["bytesCopied"] <= (61 - copied) * 500_000
    assert here.verify()[1]["findings"] == []


def test_an_import_that_is_killed_goes_on_where_it_was(docker, here):
    old = docker()
    for number in range(30):
        old.push_image("app", f"v{number}", layers=(os.urandom(500_000),))
    command = [BINARY, "import", "--from", f"http://{old.host}", "--data", here.data, "--workers", "4"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while old.requests("GET", "/blobs/") < 10:
        assert running.poll() is None
        time.sleep(0.002)
    running.kill()
    running.wait()
    assert here.verify()[1]["findings"] == []
    again = imported(old, here)
    assert 0 < again["blobsCopied"] < 31
    assert here.verify()[1]["findings"] == []
    assert here.verify()[1]["manifests"] == 30


def test_a_download_that_breaks_off_is_read_on_and_a_busy_source_is_waited_for(docker, here):
    old = docker()
    layer = os.urandom(3 << 20)
    old.push_image("app", "v1", layers=(layer,))
    asked, busy = [], []

    def hook(handler, forward):
        if sha256(layer) in handler.path:
            asked.append(handler.headers.get("Range"))
            if len(asked) == 4:
                return False
            if len(asked) < 3:
                status, headers, body = forward()
                send(handler, status, headers, body[:1 << 20])
            handler.close_connection = True
            return True
        if not handler.path.endswith("/manifests/v1"):
            return False
        busy.append(time.monotonic())
        if len(busy) > 1:
            return False
        send(handler, 429, {"Retry-After": "2"})
        return True

    with Proxy(old.port, hook) as proxy:
        counts = imported(proxy.url, here)
    assert asked[0] is None and len(asked) == 4
    first, second, third = (int(header.removeprefix("bytes=").removesuffix("-")) for header in asked[1:])
    assert 0 < first < second == third < len(layer), "what came is not asked for again, and nothing came the third time"
    assert counts["bytesCopied"] == len(layer) + len(b"{}")
    assert busy[1] - busy[0] >= 2
    here.start()
    assert_blob(here, "app", layer)


def test_a_source_that_knows_no_ranges_sends_it_all_again(docker, here):
    old = docker()
    layer = os.urandom(2 << 20)
    old.push_image("app", "v1", layers=(layer,))
    asked = []

    def hook(handler, forward):
        if sha256(layer) not in handler.path:
            return False
        asked.append(handler.headers.get("Range"))
        del handler.headers["Range"]
        status, headers, body = forward()
        send(handler, status, headers, body if len(asked) > 1 else body[:1 << 20])
        handler.close_connection = True
        return True

    with Proxy(old.port, hook) as proxy:
        imported(proxy.url, here)
    assert len(asked) == 2 and asked[0] is None and int(asked[1][len("bytes="):-1]) > 0
    assert here.verify()[1]["findings"] == []


def htpasswd(folder):
    file = folder / "htpasswd"
    subprocess.run(["htpasswd", "-cbB", file, "alice", "secret"], check=True, capture_output=True)
    return {"htpasswd": {"realm": "test", "path": str(file)}}


def test_a_password_is_shown_to_the_source_and_to_nobody_that_it_redirects_to(docker, here, tmp_path):
    old = docker()
    layer = os.urandom(100_000)
    old.push_image("app", "v1", layers=(layer,))
    with Proxy(old.port) as elsewhere:
        old.auth = htpasswd(tmp_path)
        old.restart()

        def redirect(handler, forward):
            if "/blobs/" not in handler.path:
                return False
            status, _, _ = forward()
            send(handler, 307 if status < 400 else status, {"Location": f"{elsewhere.url}{handler.path}?signed=%2F"})
            return True

        with Proxy(old.port, redirect) as home:
            # The other host has its own way in, as a store with signed addresses has.
            open_store = docker(data=old.data, port=0)
            elsewhere.upstream = open_store.port
            assert "none was given" in run_import(home.url, here)[2]
            (tmp_path / "wrong").write_text("wrong\n")
            status, report, errors = run_import(
                home.url, here, "--user", "alice", "--password-file", str(tmp_path / "wrong")
            )
            assert (status, report) == (1, None) and "does not accept the password of alice" in errors
            (tmp_path / "right").write_text("secret\n")
            imported(home.url, here, "--user", "alice", "--password-file", str(tmp_path / "right"))
            assert len(elsewhere.paths("GET", "?signed=%2F")) == 2
            assert [headers for _, _, headers in elsewhere.seen if "authorization" in headers] == []
            assert "authorization" not in home.seen[0][2], "nothing is shown before it is asked for"
    again = imported(old, here, env={"IMPORT_USER": "alice", "IMPORT_PASSWORD": "secret"})
    assert again["tagsUnchanged"] == 1
    open_store.own_data = False


def test_a_token_server_is_asked_once_for_each_repository(docker, here, tmp_path):
    old = docker()
    for name in ("team/app", "other"):
        for number in range(4):
            old.push_image(name, f"v{number}", layers=(f"{name}{number}".encode(),))
    with TokenServer(tmp_path, "alice", "secret") as tokens:
        old.auth = tokens.auth
        old.restart()
        status, _, errors = run_import(old, here, env={"IMPORT_USER": "alice", "IMPORT_PASSWORD": "wrong"})
        assert status == 1 and "gives alice no token" in errors
        tokens.seen.clear()
        counts = imported(old, here, env={"IMPORT_USER": "alice", "IMPORT_PASSWORD": "secret"})
        assert counts["tagsImported"] == 8
        asked = sorted(path.partition("scope=")[2] for _, path, _ in tokens.seen)
        assert asked == ["", "registry%3Acatalog%3A%2A", "repository%3Aother%3Apull", "repository%3Ateam%2Fapp%3Apull"]
    assert here.verify()[1]["findings"] == []


def test_damage_at_the_source_is_refused_and_the_rest_is_imported(docker, here):
    old = docker()
    bad, good = os.urandom(200_000), os.urandom(200_000)
    old.push_image("app", "bad", layers=(bad, b"beside it"))
    old.push_image("app", "good", layers=(good, b"shared"))
    lost, _ = old.push_image("app", "lost", layers=(b"lost",))
    gone, _ = old.push_image("app", "gone", layers=(b"gone",))
    file = old.blob_file(sha256(bad))
    file.write_bytes(bad[:-1] + bytes([bad[-1] ^ 1]))
    old.blob_file(sha256(b"lost")).unlink()
    old.blob_file(gone).write_bytes(b'{"schemaVersion": 2}')

    status, report, _ = run_import(old, here)
    assert (status, report["failureCount"]) == (1, 3)
    assert here.verify()[1]["blobs"] == 4, "the other layers, a config"
    reasons = {failure["reference"]: failure["reason"] for failure in report["failures"]}
    assert "DIGEST_INVALID" in reasons["bad"] and sha256(bad) in reasons["bad"]
    assert f"{sha256(b'lost')}, which the source does not hold" in reasons["lost"]
    assert reasons["gone"]
    assert report["counts"]["tagsImported"] == 1
    here.start()
    assert here.request("GET", "/v2/app/tags/list").json()["tags"] == ["good"]
    assert here.request("HEAD", f"/v2/app/blobs/{sha256(bad)}").status == 404
    assert here.verify()[1]["findings"] == []

    file.write_bytes(bad)
    status, report, _ = run_import(old, here)
    assert (report["counts"]["tagsImported"], report["failureCount"]) == (1, 2)


def test_an_index_whose_manifests_are_partly_gone_needs_permission(docker, here):
    old = docker()
    _, (first, second) = push_index(old, "app", "multi", [b"amd64", b"arm64"])
    assert old.request("DELETE", f"/v2/app/manifests/{second}").status == 202
    status, report, _ = run_import(old, here)
    assert status == 1 and second in report["failures"][0]["reason"]
    status, report, _ = run_import(old, here, "--set", "manifests.sparse-indexes=true")
    assert (status, report["failures"]) == (0, [])
    assert [gap["reference"] for gap in report["missing"]] == [second]
    here.settings = {"manifests.sparse-indexes": "true"}
    here.start()
    assert_same(old, here, "app", "multi")
    assert_same(old, here, "app", first)


@pytest.mark.embedded
def test_a_source_with_a_certificate_of_its_own_is_trusted_when_told(fresh, here, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )
    old = fresh()
    old.push_image("app", "v1")
    assert old.stop() == 0
    secured = fresh(data=old.data, **{"tls.certificate": tmp_path / "cert.pem", "tls.key": tmp_path / "key.pem"})
    url = f"https://localhost:{secured.port}"
    assert "CERTIFICATE" in run_import(url, here)[2].upper()
    assert imported(url, here, "--ca-file", str(tmp_path / "cert.pem"))["tagsImported"] == 1


@pytest.mark.embedded
def test_a_source_without_tls_is_told_of_in_plain_words(server, here):
    status, report, errors = run_import(f"https://{server.host}", here)
    assert (status, report) == (1, None)
    assert "does not speak TLS" in errors and "http://" in errors and "BoringSSL" not in errors and ".cc" not in errors


def test_a_password_file_that_is_not_there_is_named(here, tmp_path):
    options = ["--user", "alice", "--password-file", str(tmp_path / "nothing")]
    status, report, errors = run_import("https://old.example.com", here, *options)
    assert (status, report) == (1, None)
    assert errors == f"Error: The file {tmp_path}/nothing that --password-file names is missing or not readable as text.\n"


@pytest.mark.parametrize("url, reason", [
    ("http://192.0.2.1:5000", "--insecure"), ("ftp://old", "--from takes"), ("https://old/v2", "--from takes"),
    ("http://user:password@127.0.0.1:5000", "--from takes"),
])
def test_an_address_that_cannot_be_used_safely_is_refused_at_once(here, url, reason):
    status, report, errors = run_import(url, here)
    assert status != 0 and report is None and reason in errors


def test_an_image_of_docker_schema_1_is_told_of(docker, here):
    """docker-registry takes them no more, so a proxy says that the manifest is one."""
    old = docker()
    old.push_image("app", "old")
    old.push_image("app", "new", layers=(b"new",))

    def hook(handler, forward):
        status, headers, body = forward()
        if handler.command != "GET" or sha256_of_image(b"layer") not in handler.path:
            return False
        old_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        send(handler, status, {**headers, "Content-Type": old_type}, body)
        return True

    with Proxy(old.port, hook) as proxy:
        status, report, _ = run_import(proxy.url, here)
    assert (status, report["failureCount"], report["counts"]["tagsImported"]) == (1, 1, 1)
    assert report["failures"][0]["reference"] == "old" and "schema 1" in report["failures"][0]["reason"]


def test_people_read_a_summary(docker, here):
    old = docker()
    old.push_image("app", "v1", layers=(b"layer",))
    old.push_image("app", "v2", layers=(b"lost",))
    old.blob_file(sha256(b"lost")).unlink()
    command = [BINARY, "import", "--from", f"http://{old.host}/", "--data", here.data]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "1 repositories, 2 tags: 1 imported, 0 there already, 0 kept."
    assert lines[1:3] == ["1 manifests copied, 0 there already.",
                          "2 blobs copied (7 bytes), 0 mounted, 1 there already."]
    assert lines[3] == "1 FAILED:" and lines[4].startswith("  app:v2: The manifest lists the blob sha256:")
    assert done.returncode == 1
