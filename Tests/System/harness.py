"""Runs a real strata server on loopback and speaks raw HTTP to it.

The client is deliberately small: it sends exactly the bytes a test asks for, so that a test can also be malformed.
"""
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("STRATA_BIN", str(ROOT / ".build/release/strata"))

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha512(data: bytes) -> str:
    return "sha512:" + hashlib.sha512(data).hexdigest()


@dataclass
class Response:
    status: int
    headers: dict  # lower-case names; repeated headers joined by ", "
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def codes(self):
        """The codes of the error envelope, in order."""
        return [e["code"] for e in self.json()["errors"]]


def exchange(port, method, path, body=None, headers=None, chunked=False, timeout=60) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {}, encode_chunked=chunked)
        response = connection.getresponse()
        data = response.read()
        merged = {}
        for name, value in response.getheaders():
            key = name.lower()
            merged[key] = f"{merged[key]}, {value}" if key in merged else value
        return Response(response.status, merged, data)
    finally:
        connection.close()


@dataclass
class Server:
    """One strata process on its own data folder. `settings` are configuration keys given with --set."""

    data: str = ""
    settings: dict = field(default_factory=dict)
    port: int = 0
    env: dict = field(default_factory=dict)
    process: subprocess.Popen | None = None
    own_data: bool = False

    def __post_init__(self):
        if not self.data:
            self.data = tempfile.mkdtemp(prefix="strata-test-")
            self.own_data = True
        self.port = self.port or free_port()
        # Of this server alone: ports come back.
        descriptor, self.log_path = tempfile.mkstemp(prefix=f"strata-test-{self.port}-", suffix=".log")
        os.close(descriptor)

    @property
    def options(self):
        """What tells any command which stores it works on."""
        assignments = [["--set", f"{key}={value}"] for key, value in self.settings.items()]
        return ["--data", self.data, *itertools.chain.from_iterable(assignments)]

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def start(self, timeout=30):
        arguments = [BINARY, "serve", "--listen", self.host, *self.options]
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env={**os.environ, **self.env}
        )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"strata exited with {self.process.returncode}; see {self.log.name}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"strata did not listen within {timeout} s; see {self.log.name}")

    def kill(self):
        """SIGKILL: what a crash looks like."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self, timeout=60) -> int:
        """SIGTERM: a graceful shutdown. Returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout)
        self.log.close()
        return status

    def log_text(self) -> str:
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()
        if self.own_data:
            shutil.rmtree(self.data, ignore_errors=True)

    # -- HTTP

    def request(self, method, path, body=None, headers=None, chunked=False, timeout=60, follow=True) -> Response:
        """One request on its own connection. `body` may be bytes or an iterable of bytes (with chunked=True).
        Goes where a 307 sends it, as clients do."""
        answer = exchange(self.port, method, path, body, headers, chunked, timeout)
        if answer.status != 307 or not follow:
            return answer
        elsewhere = urllib.parse.urlsplit(answer.headers["location"])
        return exchange(elsewhere.port, method, f"{elsewhere.path}?{elsewhere.query}", body, headers, chunked, timeout)

    def raw(self, data: bytes, timeout=10) -> bytes:
        """Sends bytes as they are and returns all that comes back until the server closes or `timeout` passes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            out = b""
            try:
                while chunk := s.recv(65536):
                    out += chunk
            except TimeoutError:
                pass
            return out

    # -- Registry shorthands that tests share

    def push_blob(self, repository, data: bytes, digest=None) -> str:
        """POST then PUT; returns the digest."""
        digest = digest or sha256(data)
        opened = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert opened.status == 202, opened
        location = opened.headers["location"]
        separator = "&" if "?" in location else "?"
        put = self.request("PUT", f"{location}{separator}digest={digest}", body=data)
        assert put.status == 201, put
        return digest

    def push_manifest(self, repository, reference, manifest, media_type=OCI_MANIFEST, headers=None) -> Response:
        body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        return self.request(
            "PUT", f"/v2/{repository}/manifests/{reference}", body=body,
            headers={"Content-Type": media_type, **(headers or {})},
        )

    def push_image(self, repository, reference, layers=(b"layer",), config=b"{}", **extra):
        """A whole image; returns (digest, manifest bytes)."""
        self.push_blob(repository, config)
        for layer in layers:
            self.push_blob(repository, layer)
        body = json.dumps(image_manifest(config, layers, **extra)).encode()
        put = self.push_manifest(repository, reference, body)
        assert put.status == 201, put
        return sha256(body), body

    # -- Metrics and verify

    def metrics(self) -> dict:
        """`{'name{label="value"}': number}` of every sample on /metrics."""
        samples = {}
        for line in self.request("GET", "/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def metric(self, name) -> float:
        """The sum of all samples of one metric family, whatever their labels."""
        return sum(v for k, v in self.metrics().items() if k == name or k.startswith(name + "{"))

    def verify(self, *options):
        """Runs `strata verify --json` on the server's stores; returns (exit status, report)."""
        done = subprocess.run([BINARY, "verify", "--json", *self.options, *options], capture_output=True, text=True)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


def descriptor(data: bytes, media_type: str) -> dict:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def image_manifest(config=b"{}", layers=(b"layer",), **extra) -> dict:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
        **extra,
    }


def build_cache(layers) -> dict:
    """What `buildx --cache-to type=registry` made before BuildKit 0.21: an index of layers, and of a config of its own."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(layer, OCI_LAYER) for layer in layers]
        + [descriptor(BUILD_CACHE_CONFIG, "application/vnd.buildkit.cacheconfig.v0")],
    }


BUILD_CACHE_CONFIG = b'{"layers":[{"blob":"sha256:0","parent":-1}],"records":[]}'


def wait_until(condition, what, seconds=40):
    """Fails unless the condition holds in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.3)
    raise AssertionError(f"after {seconds} s: not {what}")
