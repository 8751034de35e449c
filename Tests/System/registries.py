"""Other registries, and what stands between them and us: Debian's docker-registry, its token server, a proxy."""
import base64
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

from harness import Server


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class DockerRegistry(Server):
    """docker-registry on a folder. `auth` is the `auth` section of its configuration; `user` and `password` are shown
    with every request of the test."""

    auth: dict = None
    user: str = ""
    password: str = ""

    def start(self, timeout=30):
        folder = pathlib.Path(self.data)
        config = folder / "config.yml"
        # YAML is a superset of JSON.
        config.write_text(json.dumps({
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "validation": {"manifests": {"urls": {"allow": ["^https://example.com/"]}}},
            "http": {"addr": self.host, "relativeurls": True},
            **({"auth": self.auth} if self.auth else {}),
        }))
        self.log = open(folder / "log", "ab")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log_text()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(self.log_text())

    def restart(self):
        if self.process.poll() is None:
            self.kill()
        return self.start()

    def request(self, method, path, body=None, headers=None, chunked=False, timeout=60):
        shown = {"Authorization": basic(self.user, self.password)} if self.user else {}
        return super().request(method, path, body, {**shown, **(headers or {})}, chunked, timeout)

    def requests(self, method, part):
        """How many requests the access log knows whose path holds `part`."""
        return len(re.findall(rf'"{method} [^ "]*{re.escape(part)}', self.log_text()))

    def blob_file(self, digest):
        algorithm, hash = digest.split(":")
        return pathlib.Path(self.data) / f"data/docker/registry/v2/blobs/{algorithm}/{hash[:2]}/{hash}/data"


class _Web:
    """A small HTTP server in a thread. Subclasses answer."""

    def __init__(self):
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                web.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                web.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.seen = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def send(handler, status, headers, body=b""):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if "Content-Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


class Proxy(_Web):
    """Hands requests on to a registry. `hook(handler, forward)` may answer instead and returns True if it did; `forward`
    gives what the registry says: (status, headers, body)."""

    def __init__(self, upstream, hook=None):
        self.upstream, self.hook = upstream, hook or (lambda *_: False)
        super().__init__()

    def answer(self, handler):
        def forward():
            connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
            headers = {k: v for k, v in handler.headers.items() if k.lower() != "host"}
            connection.request(handler.command, handler.path, headers=headers)
            response = connection.getresponse()
            names = ("content-type", "content-length", "content-range", "docker-content-digest", "link", "location",
                     "www-authenticate")
            kept = {k.title(): v for k, v in response.getheaders() if k.lower() in names}
            return response.status, kept, response.read()

        if not self.hook(handler, forward):
            send(handler, *forward())

    def paths(self, method, part):
        return [path for seen, path, _ in self.seen if seen == method and part in path]


class TokenServer(_Web):
    """Gives tokens that docker-registry believes to whoever knows the password: signed with a key of its own."""

    def __init__(self, folder, user, password):
        self.folder, self.shown = pathlib.Path(folder), basic(user, password)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens",
             "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"], check=True, capture_output=True,
        )
        super().__init__()
        self.auth = {"token": {
            "realm": f"{self.url}/token", "service": "the registry", "issuer": "test",
            "rootcertbundle": str(self.folder / "cert.pem"),
        }}

    def answer(self, handler):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        if handler.headers.get("Authorization") != self.shown:
            return send(handler, 401, {})
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": [a for a in actions.split(",") if a in ("pull", "*")]})
        body = json.dumps({"token": self.token(query["service"][0], access), "expires_in": 60}).encode()
        send(handler, 200, {"Content-Type": "application/json"}, body)

    def token(self, audience, access):
        def encode(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        lines = (self.folder / "cert.pem").read_text().splitlines()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(line for line in lines if "CERTIFICATE" not in line)]}
        now = int(time.time())
        claims = {"iss": "test", "sub": "alice", "aud": audience, "nbf": now - 5, "iat": now, "exp": now + 60,
                  "jti": os.urandom(8).hex(), "access": access}
        text = encode(json.dumps(header).encode()) + b"." + encode(json.dumps(claims).encode())
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.folder / "key.pem"], input=text, capture_output=True, check=True
        ).stdout
        return (text + b"." + encode(signature)).decode()
