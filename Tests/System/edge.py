"""deploy/edge, set up as its README says: nginx in front of a bucket. And signers of URLs that share no code with it."""
import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from urllib.parse import urlsplit

from harness import Response
from services import ROOT, Service, free_ports, wait_until

SECRET = b"edge-tests-have-a-secret-of-their-own"


class Edge(Service):
    def __init__(self, store, bucket: str, prefix="", path="", cache_size="1g"):
        super().__init__("edge")
        (self.port,) = free_ports(1)
        self.config, self.logs = self.folder / "config", self.folder / "logs"
        self.url = f"http://127.0.0.1:{self.port}{path}"
        self.values = {
            "EDGE_LISTEN": f"127.0.0.1:{self.port}", "EDGE_URL": self.url,
            "EDGE_PREFIX": prefix, "EDGE_BUCKET": bucket, "EDGE_REGION": "us-east-1", "EDGE_ORIGIN_SCHEME": "http",
            "EDGE_ORIGIN_HOST": f"127.0.0.1:{store.port}", "EDGE_ORIGIN_SERVER": f"127.0.0.1:{store.port}",
            "EDGE_ORIGIN_CA": "/etc/ssl/certs/ca-certificates.crt", "EDGE_CONFIG": self.config, "EDGE_CACHE": self.folder / "cache", "EDGE_CACHE_SIZE": cache_size,
            "EDGE_RUN": self.folder / "run", "EDGE_LOGS": self.logs,
        }
        (self.config / "keys").mkdir(parents=True)
        self.user = {}
        for folder in [self.logs, self.folder / "run", self.folder / "cache"]:
            folder.mkdir(mode=0o700)
            if os.geteuid() == 0:
                entry = pwd.getpwnam("www-data")
                os.chown(folder, entry.pw_uid, entry.pw_gid)
                self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        shutil.copy(ROOT / "deploy/edge/edge.js", self.config)
        (self.config / "credentials").write_text(f"{store.ACCESS_KEY}\n{store.SECRET_KEY}\n")

    def add_key(self, name: str, content: bytes):
        (self.config / "keys" / name).write_bytes(content)

    def start(self):
        variables = {name: str(value) for name, value in self.values.items()}
        template = (ROOT / "deploy/edge/nginx.conf").read_bytes()
        names = " ".join(f"${name}" for name in variables)
        made = subprocess.run(["envsubst", names], input=template, env={**os.environ, **variables}, capture_output=True)
        assert b"${EDGE_" not in made.stdout, "the template has a variable that is not set here"
        (self.folder / "nginx.conf").write_bytes(made.stdout)
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        self.spawn(nginx, "-c", self.folder / "nginx.conf", "-g", "daemon off;", **self.user)
        wait_until("the edge", self.is_listening)
        return self

    def is_listening(self) -> bool:
        if self.processes[0].poll() is not None:
            raise RuntimeError("nginx ended at once")
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def kill(self):
        """SIGTERM: nginx's workers outlive a killed master."""
        for process in self.processes:
            process.terminate()
            process.wait(30)
        self.processes = []

    def log_text(self) -> str:
        files = [self.folder / "log", self.logs / "error.log"]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def request(self, method, target, headers=None) -> Response:
        """`target` is a URL of this edge or what follows its host, and is sent as it is."""
        target = target.removeprefix(f"http://127.0.0.1:{self.port}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, target, headers=headers or {})
            answer = connection.getresponse()
            body = answer.read()
            return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    def settled(self, log: str) -> str:
        """A log once nothing has come for a while: nginx writes a request down after the client has its answer."""
        text, since = None, time.monotonic()
        while time.monotonic() - since < 0.3:
            now = (self.logs / log).read_text()
            if now != text:
                text, since = now, time.monotonic()
            time.sleep(0.02)
        return text

    def fetches(self, key: str) -> list[dict]:
        """What was fetched from the bucket for an object: status, range, bytes received, moment of the signature."""
        form = re.compile(r'\S+ status=(\d+) (\S+) range="(.*)" received=([\d, :]+) signed=(\S+) ')
        found = [form.match(line) for line in self.settled("origin.log").splitlines() if key in line]
        return [
            {"status": int(m[1]), "range": m[3], "bytes": sum(map(int, re.findall(r"\d+", m[4]))), "signed": m[5]}
            for m in found
        ]


def hmac_url(url: str, expires=None, key_id="K1", secret=SECRET) -> str:
    """As docs/downloads.md defines it."""
    expires = int(time.time()) + 300 if expires is None else expires
    text = f"{urlsplit(url).path}\n{expires}\n{key_id}".encode()
    code = base64.urlsafe_b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode().rstrip("=")
    return f"{url}?expires={expires}&key={key_id}&signature={code}"


def cloudfront_url(url: str, key_file, expires=None, key_id="KCF1") -> str:
    """As AWS documents it, signed by openssl."""
    expires = int(time.time()) + 300 if expires is None else expires
    policy = '{"Statement":[{"Resource":"%s","Condition":{"DateLessThan":{"AWS:EpochTime":%d}}}]}' % (url, expires)
    command = ["openssl", "dgst", "-sha1", "-sign", str(key_file)]
    done = subprocess.run(command, input=policy.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr
    text = base64.b64encode(done.stdout).decode().translate(str.maketrans("+=/", "-_~"))
    return f"{url}?Expires={expires}&Signature={text}&Key-Pair-Id={key_id}"


def rsa_key(file):
    """Writes a private key; returns the public one in PEM."""
    subprocess.run(["openssl", "genrsa", "-out", str(file), "2048"], check=True, capture_output=True)
    return subprocess.run(["openssl", "rsa", "-in", str(file), "-pubout"], check=True, capture_output=True).stdout
