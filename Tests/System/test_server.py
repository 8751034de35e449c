"""The server as a product: start, stop, commands, TLS."""
import contextlib
import json
import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import BINARY, ROOT, Server, free_port, sha256, wait_until

pytestmark = pytest.mark.embedded  # about the server, whatever its stores


def strata(*arguments, **environment):
    return subprocess.run(
        [BINARY, *arguments], capture_output=True, text=True, timeout=30, env={**os.environ, **environment}
    )


def test_start_says_where_and_how(fresh):
    server = fresh()
    time.sleep(0.2)
    lines = server.log_text().splitlines()
    assert server.host in next(line for line in lines if line.startswith("Strata"))
    assert any(server.data in line for line in lines)
    assert any("docker push" in line for line in lines)


def test_shutdown_lets_an_upload_finish(fresh):
    """SIGTERM: new connections are refused, the upload in flight gets its 201, and the exit status is 0."""
    server = fresh()
    data = os.urandom(1_000_000)
    location = server.request("POST", "/v2/a/blobs/uploads/").headers["location"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as upload:
        upload.sendall(
            f"PUT {location}?digest={sha256(data)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        )
        upload.sendall(data[:400_000])
        time.sleep(0.2)
        stopped = []
        thread = threading.Thread(target=lambda: stopped.append(server.stop()))
        thread.start()
        time.sleep(0.5)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
        upload.sendall(data[400_000:])
        assert upload.recv(4096).startswith(b"HTTP/1.1 201")
    thread.join()
    assert stopped == [0]


@pytest.mark.shared
def test_a_second_server_on_a_data_folder_is_refused(fresh):
    """It could cut off a file in the middle that the first has published. Also where the database is elsewhere."""
    first = fresh(blobs="files", http__drain_seconds=1)
    first.push_image("a", "v1", layers=[os.urandom(300_000)])
    done = strata("serve", "--listen", "127.0.0.1:0", *first.options)
    sentence = f"Error: Another 'strata serve' uses {first.data}; stop it, or choose another folder with data.\n"
    assert done.returncode == 1 and done.stderr.endswith(sentence), done
    assert done.stderr.count("waiting") == 1 and done.stdout == ""
    first.push_image("a", "v2", layers=[os.urandom(300_000)])
    status, report = first.verify()  # commands may
    assert status == 0 and report["findings"] == [], report


@pytest.mark.shared
def test_a_server_starts_once_the_one_before_it_was_killed(fresh):
    """Also where the blobs are elsewhere."""
    first = fresh(metadata="sqlite")
    second = Server(data=first.data, settings=first.settings)
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:
        stack.callback(second.__exit__)
        starting = pool.submit(second.start)
        wait_until(lambda: "waiting" in pathlib.Path(second.log_path).read_text(), "waiting")
        assert first.request("GET", "/readyz").status == 200 and not starting.done()
        first.kill()
        assert starting.result().request("GET", "/readyz").status == 200


def test_a_restart_waits_for_the_requests_that_the_last_one_lets_finish(fresh):
    first = fresh()
    data = os.urandom(1_000_000)
    location = first.request("POST", "/v2/a/blobs/uploads/").headers["location"]
    second = Server(data=first.data, port=first.port)
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:
        stack.callback(second.__exit__)
        upload = stack.enter_context(socket.create_connection(("127.0.0.1", first.port), timeout=10))
        upload.sendall(
            f"PUT {location}?digest={sha256(data)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        )
        wait_until(lambda: first.metric("strata_uploads_in_flight") == 1, "uploading")
        stopping = pool.submit(first.stop)
        starting = pool.submit(second.start)
        wait_until(lambda: "waiting" in pathlib.Path(second.log_path).read_text(), "waiting")
        upload.sendall(data)
        assert upload.recv(4096).startswith(b"HTTP/1.1 201")
        upload.close()
        assert stopping.result() == 0
        assert starting.result().request("GET", f"/v2/a/blobs/{sha256(data)}").body == data


def test_shutdown_does_not_wait_for_idle_connections(fresh):
    server = fresh()
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096)
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 10


def test_shutdown_cuts_off_what_takes_too_long(fresh):
    server = fresh(**{"http.drain-seconds": 1})
    with socket.create_connection(("127.0.0.1", server.port)) as stuck:
        stuck.sendall(b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        time.sleep(0.2)
        assert server.stop(timeout=15) == 0


def test_idle_connections_are_closed(fresh):
    server = fresh(**{"http.idle-seconds": 1})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as idle:
        assert idle.recv(1) == b""


def test_connections_over_the_limit_wait(fresh):
    """They are neither refused nor answered with an error; they get their turn."""
    server = fresh(**{"http.max-connections": 2})
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(2)]
    for one in held:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(4096)
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as waiting:
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        for one in held:
            one.close()
        waiting.settimeout(5)
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200")


def test_an_older_program_refuses_a_newer_schema(fresh):
    server = fresh()
    server.stop()
    with sqlite3.connect(os.path.join(server.data, "metadata.sqlite")) as db:
        db.execute("INSERT INTO schema_migration VALUES (99, 'future', 0)")
    done = strata("serve", "--data", server.data, "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and "schema version 99" in done.stderr


@pytest.mark.parametrize("command", ["serve", "verify", "migrate", "config", "version"])
def test_help_has_examples(command):
    done = strata(command, "--help")
    assert done.returncode == 0 and "EXAMPLES" in done.stdout


def test_every_command_is_in_the_readme():
    listed = strata("--help").stdout.split("SUBCOMMANDS:")[1]
    commands = re.findall(r"^  ([a-z-]+) ", listed, re.M)
    section = (ROOT / "README.md").read_text().split("## Commands")[1].split("## ")[0]
    assert len(commands) > 10
    assert [name for name in commands if not re.search(rf"[` ]{name}[` ]", section)] == []


def test_every_metric_is_in_the_documentation(server):
    names = set(re.findall(r"^# HELP (\w+)", server.request("GET", "/metrics").body.decode(), re.M))
    text = (ROOT / "docs/operations.md").read_text()
    assert len(names) > 10
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_unknown_keys_are_errors(tmp_path):
    assert "http.max-conections" in strata("config", "check", "--set", "http.max-conections=1").stderr
    (tmp_path / "c.yaml").write_text("lisen: 127.0.0.1:1\n")
    done = strata("config", "check", "--config", str(tmp_path / "c.yaml"))
    assert done.returncode != 0 and "lisen" in done.stderr
    assert strata("config", "check", STRATA_LISEN="x").returncode != 0


def test_precedence(tmp_path):
    """Defaults < file < environment < flags."""
    (tmp_path / "c.yaml").write_text("http:\n  idle-seconds: 11\n  drain-seconds: 12\nlog.level: debug\n")
    done = strata(
        "config", "print", "--json", "--config", str(tmp_path / "c.yaml"), "--set", "log.level=error",
        STRATA_HTTP_DRAIN_SECONDS="13", STRATA_LOG_LEVEL="warning",
    )
    assert done.returncode == 0, done.stderr
    text = json.dumps(json.loads(done.stdout))
    for value in ("11", "13", "error"):
        assert value in text
    assert '"12"' not in text and "warning" not in text


def test_plain_http_for_other_machines_must_be_asked_for(tmp_path):
    done = strata("serve", "--data", str(tmp_path), "--listen", "0.0.0.0:0")
    assert done.returncode != 0 and "http.allow-plain" in done.stderr


def test_verify_finds_a_flipped_bit_and_a_stray(fresh):
    server = fresh()
    digest = server.push_blob("a", os.urandom(100_000))
    (folder, _, [name]), = [entry for entry in os.walk(os.path.join(server.data, "objects")) if entry[2]]
    with open(os.path.join(folder, name), "r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with open(os.path.join(folder, name[:2] + "0" * 30), "wb") as stray:
        stray.write(b"x")
    status, report = server.verify()
    assert status == 1
    assert {f["kind"] for f in report["findings"]} == {"blob-corrupt", "stray-object"}
    assert digest in {f["subject"] for f in report["findings"]}


def test_logs_for_machines_carry_the_request_id(fresh):
    server = fresh(**{"log.format": "json"})
    server.request("GET", "/v2/", headers={"X-Request-Id": "trace-me"})
    line = logged(server, "trace-me")
    assert (line["status"], line["bytes"], line["client"]) == (200, 2, "127.0.0.1")
    assert line["microseconds"] > 0


def logged(server, request):
    """The line of a request, once it is there."""
    for _ in range(50):
        lines = [json.loads(line) for line in server.log_text().splitlines() if line.startswith("{")]
        if found := [line for line in lines if line.get("request") == request]:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(server.log_text())


def test_logs_name_the_client_behind_a_proxy_that_is_trusted(fresh):
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    server = fresh(**{"log.format": "json"})
    server.request("GET", "/v2/", headers={"X-Request-Id": "claimed", **forwarded})
    assert logged(server, "claimed")["client"] == "127.0.0.1"
    server = fresh(**{"log.format": "json", "downloads.trusted-proxies": "127.0.0.0/8"})
    server.request("GET", "/v2/", headers={"X-Request-Id": "told", **forwarded})
    assert logged(server, "told")["client"] == "203.0.113.7"


def certificate(folder, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )


@pytest.mark.parametrize("address, reason", [
    ("192.0.2.1:5000", "no network interface of this machine has that address"),
    ("nobody.invalid:5000", "no address of that name is known"),
    (None, "another program listens there already"),
])
def test_an_address_that_cannot_be_listened_on_is_named_with_what_to_do(tmp_path, address, reason):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = address or f"127.0.0.1:{taken.getsockname()[1]}"
        done = strata("serve", "--data", str(tmp_path), "--listen", address, "--set", "http.allow-plain=true")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"Error: Nothing can be served at {address}: {reason}.") and "'listen'" in last


def test_files_that_do_not_do_for_tls_are_named_with_what_is_wrong(tmp_path):
    certificate(tmp_path, "one")
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other", "two")
    (tmp_path / "text.pem").write_text("no PEM")
    good, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for chosen, chosen_key, name, fault in [
        (tmp_path / "nothing", key, "tls.certificate", "is missing or not readable"),
        (good, tmp_path / "nothing", "tls.key", "is missing or not readable"),
        (tmp_path / "text.pem", key, "tls.certificate", "it holds no certificate in PEM"),
        (good, tmp_path / "text.pem", "tls.key", "it holds no private key in PEM"),
        (key, good, "tls.certificate", "it holds no certificate in PEM"),
        (good, tmp_path / "other/key.pem", "tls.key", f"its key does not belong to the certificate in {good}"),
    ]:
        options = ["--set", f"tls.certificate={chosen}", "--set", f"tls.key={chosen_key}"]
        for command in [["serve", "--listen", "127.0.0.1:0"], ["config", "check"]]:
            done = strata(*command, "--data", str(tmp_path / "data"), *options)
            path = chosen if name == "tls.certificate" else chosen_key
            assert done.returncode == 1, done
            assert f"Error: The file {path} that '{name}' names" in done.stderr and fault in done.stderr, done.stderr


def curl(server, folder, *options):
    return subprocess.run(
        ["curl", "-s", "--cacert", folder / "cert.pem", "-w", "%{http_version} %{response_code}", *options],
        capture_output=True, text=True, timeout=60,
    )


@pytest.fixture
def tls(tmp_path, fresh):
    certificate(tmp_path, "first")
    settings = {"tls.certificate": tmp_path / "cert.pem", "tls.key": tmp_path / "key.pem", "http.idle-seconds": 5}
    return fresh(**settings), tmp_path


def test_connections_that_never_begin_tls_are_closed(tls):
    server, _ = tls
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize("option,version", [("--http1.1", "1.1"), ("--http2", "2")])
def test_tls(tls, option, version, tmp_path):
    """HTTP/1.1 and HTTP/2: a blob is pushed and comes back as it was."""
    server, folder = tls
    data = os.urandom(3_000_000)
    (tmp_path / "blob").write_bytes(data)
    url = f"https://{server.host}/v2/a/blobs"
    pushed = curl(
        server, folder, option, "-X", "POST", "--data-binary", f"@{tmp_path / 'blob'}", "-H", "Content-Type:",
        f"{url}/uploads/?digest={sha256(data)}",
    )
    assert pushed.stdout == f"{version} 201"
    pulled = curl(server, folder, option, "-o", tmp_path / "back", f"{url}/{sha256(data)}")
    assert pulled.stdout == f"{version} 200"
    assert (tmp_path / "back").read_bytes() == data
    assert curl(server, folder, option, f"https://{server.host}/v2/a/blobs/{sha256(b'no')}").stdout.endswith(f"{version} 404")


def test_tls_1_1_is_refused(tls):
    server, folder = tls
    done = curl(server, folder, "--tls-max", "1.1", f"https://{server.host}/v2/")
    assert done.returncode != 0


def test_a_renewed_certificate_is_used_without_a_restart(tls):
    server, folder = tls
    certificate(folder, "second")
    server.process.send_signal(1)  # SIGHUP
    for _ in range(50):
        if curl(server, folder, f"https://{server.host}/v2/").stdout.endswith("200"):
            return
        time.sleep(0.1)
    raise AssertionError("the old certificate is still served")


def test_a_broken_certificate_is_refused_and_the_old_one_stays(tls):
    server, folder = tls
    (folder / "good.pem").write_bytes((folder / "cert.pem").read_bytes())
    (folder / "other").mkdir()
    certificate(folder / "other", "other")
    for wrong, reason in [
        (b"no certificate", "it holds no certificate in PEM"),
        ((folder / "other/cert.pem").read_bytes(), "its key does not belong to the certificate"),
    ]:
        (folder / "cert.pem").write_bytes(wrong)
        server.process.send_signal(1)  # SIGHUP
        for _ in range(50):
            if any("the old one stays" in line and reason in line for line in server.log_text().splitlines()):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"the log says nothing of the broken certificate: {server.log_text()}")
    (folder / "cert.pem").write_bytes((folder / "good.pem").read_bytes())
    assert curl(server, folder, f"https://{server.host}/v2/").stdout.endswith("200")


@pytest.mark.parametrize("scenario", ["push-blob", "push-image", "pull-blob", "get-manifest-by-tag", "list-tags"])
def test_bench_measures_without_errors(server, scenario):
    """Ten operations of each kind against a real server; the server's CPU time and memory are read on the way."""
    bench = ["bench", "--url", f"http://{server.host}", "--manifests", "10", "--prefix", "bench/t"]
    seeded = strata(*bench, "--scenario", "seed")
    assert seeded.returncode == 0, seeded.stderr
    done = strata(
        *bench, "--scenario", scenario, "--operations", "10", "--workers", "2", "--pid", str(server.process.pid), "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["operations"] == 10 and report["errors"] == 0
    assert report["server"]["peakResidentBytes"] > 0
