"""Where the keys of an object store come from: a token service or the machine, with credentials that expire.

Both are small servers here that speak as AWS's do and give the keys of a real SeaweedFS, which checks what is signed.
"""
import glob
import http.server
import json
import os
import subprocess
import threading
import time
import types
import urllib.parse

import pytest

from faultproxy import HTTPProxy
from harness import Server, sha256
from services import SeaweedFS


class Giver(http.server.ThreadingHTTPServer):
    """AWS's token service and instance metadata. `lifetime` is in seconds, or how their end is spelt; None if it is not told.
    `fails` is what it answers instead. `keys` are the access key and its secret that it gives."""

    daemon_threads = True

    def __init__(self, store):
        super().__init__(("127.0.0.1", 0), Answers)
        self.lifetime, self.fails, self.asked = 3600, None, []
        self.keys = store.ACCESS_KEY, store.SECRET_KEY
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def expiration(self) -> str | None:
        if not isinstance(self.lifetime, int):
            return self.lifetime
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime))


class Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, text: str, status=200):
        status, text = (self.server.fails, "out of order") if self.server.fails else (status, text)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append(dict(urllib.parse.parse_qsl(body)))
        (access, secret), end = self.server.keys, self.server.expiration()
        self.answer(
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{access}</AccessKeyId>"
            f"<SecretAccessKey>{secret}</SecretAccessKey>"
            f"{'' if end is None else f'<Expiration>{end}</Expiration>'}"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )

    def do_PUT(self):
        assert self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self.answer("token-of-the-session")

    def do_GET(self):
        if self.headers["X-aws-ec2-metadata-token"] != "token-of-the-session":
            return self.answer("", 401)
        self.server.asked.append(self.path)
        folder = "/latest/meta-data/iam/security-credentials/"
        if self.path == folder:
            return self.answer("role-of-the-machine")
        assert self.path == folder + "role-of-the-machine"
        keys = dict(zip(("AccessKeyId", "SecretAccessKey"), self.server.keys))
        end = {} if self.server.lifetime is None else {"Expiration": self.server.expiration()}
        return self.answer(json.dumps({"Code": "Success", **end, **keys}))


@pytest.fixture(scope="module")
def store():
    with SeaweedFS() as running:
        yield running


@pytest.fixture
def giver(store):
    with Giver(store) as giver:
        yield giver
        giver.shutdown()


@pytest.fixture
def start(store, tmp_path):
    """Starts a server that has no keys of its own."""
    (tmp_path / "token").write_text("a.signed.token\n")
    bucket, running = store.bucket(), []

    def make(source, giver, endpoint="", **more):
        settings = store.settings(bucket, endpoint) | {"s3.credentials": source}
        del settings["s3.access-key-id"], settings["s3.secret-access-key"]
        environment = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/registry",
            "AWS_ENDPOINT_URL_STS": giver.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": giver.url, **more,
        }
        running.append(Server(settings=settings, env=environment))
        return running[-1].start()

    yield make
    for server in running:
        server.__exit__()


def push(server, content):
    opened = server.request("POST", "/v2/team/app/blobs/uploads/")
    return server.request("PUT", f"{opened.headers['location']}?digest={sha256(content)}", body=content)


def push_and_pull(server):
    content = os.urandom(100_000)
    digest = server.push_blob("team/app", content)
    return server.request("GET", f"/v2/team/app/blobs/{digest}").body == content


@pytest.mark.parametrize("source", ["web-identity", "auto"])
def test_a_token_is_changed_for_credentials(start, giver, source):
    server = start(source, giver)
    assert all(push_and_pull(server) for _ in range(5))
    assert giver.asked == [{
        "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::1:role/registry",
        "RoleSessionName": "strata", "WebIdentityToken": "a.signed.token",
    }]


def test_the_machine_has_a_role(start, giver):
    server = start("instance", giver)
    assert all(push_and_pull(server) for _ in range(5))
    assert len(giver.asked) == 2  # which role, and its credentials


@pytest.mark.parametrize("source", ["web-identity", "instance"])
def test_credentials_that_end_soon_are_not_asked_for_at_every_request(start, giver, source):
    """A machine gets new ones five minutes before the old ones end, and we would like them earlier."""
    giver.lifetime = 600
    server = start(source, giver)
    assert all(push_and_pull(server) for _ in range(5))
    assert len(giver.asked) <= 2


def test_credentials_are_renewed_when_they_have_ended(start, giver):
    giver.lifetime = 2
    server = start("web-identity", giver)
    assert push_and_pull(server)
    before = len(giver.asked)
    time.sleep(2.1)
    giver.lifetime = 3600
    assert push_and_pull(server)
    assert len(giver.asked) == before + 1


@pytest.fixture
def clock(tmp_path):
    """A clock that a test sets, for a server with `clock.environment`."""
    file = tmp_path / "clock"
    file.write_text("+0s\n")
    (library,) = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    environment = {
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # The library adds a variable where it is not there yet. Swift looks for its arguments before the environment, which must
    # not move: so it is added in another process, which keeps what it names.
    command = ["sh", "-c", 'echo "$FAKETIME_SHARED"; read end']
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=os.environ | environment, text=True, **pipes) as holder:
        environment["FAKETIME_SHARED"] = holder.stdout.readline().strip()
        yield types.SimpleNamespace(environment=environment, set=lambda ahead: file.write_text(f"{ahead}\n"))
        holder.stdin.close()


@pytest.mark.parametrize("end", [None, "soon"], ids=["no end", "an end that is no time"])
@pytest.mark.parametrize("source", ["web-identity", "instance"])
def test_credentials_of_which_no_end_is_known_are_asked_for_again_soon(start, giver, clock, source, end):
    """They are none that stay: a session's always end."""
    giver.lifetime = end
    server = start(source, giver, **clock.environment)
    assert all(push_and_pull(server) for _ in range(3))
    before = len(giver.asked)
    assert before <= 2
    clock.set("+2m")
    assert all(push_and_pull(server) for _ in range(3))
    assert len(giver.asked) == 2 * before


def test_without_credentials_the_client_may_try_again(start, giver):
    """503 while there are none, and what was there before when the giver is back."""
    giver.lifetime = 2
    server = start("web-identity", giver)
    time.sleep(2.1)
    giver.fails = 500
    put = push(server, os.urandom(100_000))
    assert put.status == 503, put
    giver.fails = None
    assert push_and_pull(server)


REFUSALS = ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"]


@pytest.mark.parametrize("code", REFUSALS)
def test_credentials_that_the_store_takes_no_more_are_replaced_before_their_end(start, store, giver, code):
    """And with them the URLs that they signed, which clients were still given."""
    with HTTPProxy(store.port) as way:
        server = start("web-identity", giver, endpoint=f"http://127.0.0.1:{way.port}")
        content = os.urandom(1 << 21)
        path = f"/v2/team/app/blobs/{server.push_blob('team/app', content)}"
        asked = len(giver.asked)

        def url():
            return server.request("GET", path, follow=False).headers["location"]

        before = url()
        assert url() == before and store.ACCESS_KEY in before
        giver.keys = store.OTHER_ACCESS_KEY, store.OTHER_SECRET_KEY
        refusal = way.fault("^PUT ", "answer", status=403, body=f"<Error><Code>{code}</Code></Error>".encode())
        assert push_and_pull(server)
        assert (refusal.hits, len(giver.asked)) == (1, asked + 1)
        assert store.OTHER_ACCESS_KEY in url()
        assert server.request("GET", path).body == content


def test_credentials_are_replaced_by_a_pull_too(start, store, giver):
    with HTTPProxy(store.port) as way:
        server = start("web-identity", giver, endpoint=f"http://127.0.0.1:{way.port}")
        content = os.urandom(100_000)
        digest = server.push_blob("team/app", content)
        asked = len(giver.asked)
        giver.keys = store.OTHER_ACCESS_KEY, store.OTHER_SECRET_KEY
        way.fault("^GET ", "answer", status=403, body=b"<Error><Code>ExpiredToken</Code></Error>")
        assert server.request("GET", f"/v2/team/app/blobs/{digest}").body == content
        assert len(giver.asked) == asked + 1


def test_a_store_that_takes_none_does_not_make_us_ask_at_every_request(start, store, giver):
    with HTTPProxy(store.port) as way:
        server = start("web-identity", giver, endpoint=f"http://127.0.0.1:{way.port}")
        assert push_and_pull(server)
        asked = len(giver.asked)
        giver.keys = store.OTHER_ACCESS_KEY, store.OTHER_SECRET_KEY
        body = b"<Error><Code>InvalidAccessKeyId</Code></Error>"
        refusal = way.fault("^PUT ", "answer", times=None, status=403, body=body)
        assert [push(server, os.urandom(100_000)).status for _ in range(4)] == [500] * 4
        assert (refusal.hits, len(giver.asked)) == (5, asked + 1)
