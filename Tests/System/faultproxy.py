"""A TCP proxy on loopback that does what networks do. A test holds it as an object and switches faults on while it runs.

`Proxy` passes bytes and looks for words in what clients send: for PostgreSQL. `HTTPProxy` knows requests and answers:
for object stores. Faults are taken in their order; each is used `times` times (None for always) and counts its `hits`.
"""
import re
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What happens to the next traffic that matches.

    Proxy: `match` is a pattern in bytes that a client sends. `action` is
      "reset"  cuts both ends before the matching bytes are passed on
      "lose"   passes them on, waits for the answer, and cuts the client without it
      "hold"   keeps them until `release()`

    HTTPProxy: `match` is a pattern in "METHOD /path?query". `action` is
      "answer"         answers with `status` and `body`; nothing is passed on
      "alter"          passes on, with `headers` of the answer replaced
      "reset-request"  cuts both ends after `after` bytes of the request's body
      "stall-request"  is silent after that many, until `release()`; then both ends are cut
      "reset-answer"   cuts the client after `after` bytes of the answer's body; -1 for without its head
      "end-answer"     the same, but with an orderly end
      "stall-answer"   is silent after that many, until `release()`; then both ends are cut
      "hold-answer"    has the whole answer and passes it on after `release()`
    """

    match: bytes | str
    action: str
    times: int | None = 1
    after: int = 0
    status: int = 503
    body: bytes = b"<Error><Code>SlowDown</Code></Error>"
    headers: dict = field(default_factory=dict)
    hits: int = 0

    def __post_init__(self):
        self.reached = threading.Event()
        self.released = threading.Event()

    def release(self):
        self.released.set()

    def wait(self, timeout=20):
        assert self.reached.wait(timeout), f"nothing matched {self.match!r}"


class Gone(Exception):
    """One end closed its connection, or a fault did."""


def reset(*sockets):
    for one in sockets:
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RD)  # wakes a thread that reads from it
        except OSError:
            pass  # closed already
        one.close()


class Proxy:
    def __init__(self, port: int):
        self.target = port
        self.latency = 0.0  # seconds, in each direction
        self.refuses = False  # connections are reset at once
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fault in self.faults:
            fault.release()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.reset_all()

    def fault(self, *arguments, **options) -> Fault:
        made = Fault(*arguments, **options)
        with self.lock:
            self.faults.append(made)
        return made

    def clear(self):
        with self.lock:
            cleared, self.faults = self.faults, []
        self.refuses, self.latency = False, 0.0
        for fault in cleared:
            fault.release()

    def reset_all(self):
        with self.lock:
            connections, self.open = self.open, set()
        reset(*connections)

    def take(self, text) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.match, text):
                    fault.times = fault.times and fault.times - 1
                    fault.hits += 1
                    if fault.action != "hold-answer":
                        fault.reached.set()
                    return fault
        return None

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refuses:
                reset(client)
                continue
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = None
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            server.settimeout(None)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open |= {client, server}
            self.carry(client, server)
        except (OSError, Gone, ValueError):  # ValueError: a socket that another thread closed
            pass
        finally:
            with self.lock:
                self.open -= {client, server}
            reset(client, *([server] if server else []))

    def carry(self, client, server):
        loses = None
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for one in ready:
                data = one.recv(65536)
                if not data:
                    raise Gone
                time.sleep(self.latency)
                if one is server:
                    if loses:
                        raise Gone
                    client.sendall(data)
                    continue
                fault = self.take(data)
                if fault and fault.action == "reset":
                    raise Gone
                if fault and fault.action == "hold":
                    fault.released.wait()
                loses = fault and fault.action == "lose"
                server.sendall(data)


class HTTPProxy(Proxy):
    def carry(self, client, server):
        upstream, downstream = server.makefile("rb"), client.makefile("rb")
        while True:
            head = self.read_head(downstream)
            time.sleep(self.latency)
            line = head.split(b"\r\n", 1)[0].decode()
            method, target, _ = line.split(" ")
            fault = self.take(f"{method} {target}")
            action = fault.action if fault else ""
            body = self.body(head, downstream)
            if action == "answer":
                for _ in body:
                    pass
                client.sendall(
                    f"HTTP/1.1 {fault.status} Injected\r\nContent-Length: {len(fault.body)}\r\n\r\n".encode() + fault.body
                )
                continue
            if action.endswith("-request"):
                server.sendall(head)
                self.send_some(body, server, fault)
                raise Gone
            server.sendall(head)
            for piece in body:
                server.sendall(piece)
            self.answer(client, upstream, method, fault, action)

    def answer(self, client, upstream, method, fault, action):
        head = self.read_head(upstream)
        while head.startswith(b"HTTP/1.1 100"):
            head = self.read_head(upstream)
        time.sleep(self.latency)
        if action == "alter":
            for name, value in fault.headers.items():
                head = re.sub(rb"(?im)^%s:.*?\r$" % name.encode(), f"{name}: {value}\r".encode(), head)
        has_body = method != "HEAD" and head.split(b" ")[1] not in (b"204", b"304")
        body = self.body(head, upstream) if has_body else iter(())
        if action == "hold-answer":
            fault.reached.set()
            fault.released.wait()
        elif action.endswith("-answer"):
            if fault.after >= 0:
                client.sendall(head)
                self.send_some(body, client, fault)
            else:
                for _ in body:  # the server has done all that it was asked for
                    pass
            if action == "end-answer":
                client.shutdown(socket.SHUT_WR)
                time.sleep(0.2)
            raise Gone
        client.sendall(head)
        for piece in body:
            client.sendall(piece)

    @staticmethod
    def send_some(body, to, fault):
        left = fault.after
        for piece in body:
            to.sendall(piece[:left])
            left -= len(piece[:left])
            if left == 0:
                break
        if fault.action.startswith("stall-"):
            fault.released.wait()
        elif fault.action.startswith("reset-"):
            time.sleep(0.05)  # a reset would overtake what is still on its way

    @staticmethod
    def read_head(stream) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline(65536)
            if not line:
                raise Gone
            head += line
        return head

    @staticmethod
    def body(head: bytes, stream):
        """The pieces of a body as they are on the wire."""
        if re.search(rb"(?im)^transfer-encoding:\s*chunked", head):
            while True:
                line = stream.readline(1024)
                size = int(line.split(b";")[0], 16)
                data = stream.read(size + 2)
                yield line + data
                if size == 0:
                    return
        length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
        left = int(length.group(1)) if length else 0
        while left > 0:
            piece = stream.read1(min(left, 65536))
            if not piece:
                raise Gone
            left -= len(piece)
            yield piece
