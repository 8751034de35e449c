"""Several strata nodes that are one registry, and Debian's haproxy in front of them."""
import contextlib
import http.client
import re
import tempfile

from harness import Server
from services import Service, free_ports, wait_until

LOST = (OSError, http.client.HTTPException)
# What a client may be told while something behind the registry is away. After each of them it may try again.
RETRYABLE = {502, 503, 504, 507}


class HAProxy(Service):
    """Sends each request to the next node that is up."""

    def __init__(self, nodes):
        super().__init__("haproxy")
        (self.port,) = free_ports(1)
        self.nodes = nodes

    def start(self):
        servers = "\n".join(f"    server n{i} {n.host} check inter 200ms fall 1 rise 1" for i, n in enumerate(self.nodes))
        (self.folder / "haproxy.cfg").write_text(
            f"""
global
    maxconn 500
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout check 3s
    retries 3
    option redispatch 1
frontend registry
    bind 127.0.0.1:{self.port}
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk GET /healthz
{servers}
"""
        )
        self.spawn("haproxy", "-db", "-f", self.folder / "haproxy.cfg")
        # Not started by this object: it is only spoken to.
        self.client = Server(data=str(self.folder), port=self.port)
        wait_until("haproxy", lambda: self.client.request("GET", "/v2/").status == 200)
        return self


@contextlib.contextmanager
def cluster(count, settings, data=""):
    """`count` running nodes with the same settings; the data folder is shared."""
    with contextlib.ExitStack() as stack:
        folder = data or stack.enter_context(tempfile.TemporaryDirectory(prefix="strata-nodes-"))
        yield [
            stack.enter_context(Server(data=folder, settings={"log.level": "warning", **settings})) for _ in range(count)
        ]


def path_of(location: str) -> str:
    return re.sub(r"^https?://[^/]*", "", location)
