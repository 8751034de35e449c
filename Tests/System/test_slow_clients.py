"""Clients that send or read slowly, or not at all: they hold what they were given, and nobody else is refused, nor kept
waiting by more of them than there is room for."""
import concurrent.futures
import contextlib
import os
import socket
import time

import pytest

from harness import sha256, wait_until

MIB = 1 << 20


@contextlib.contextmanager
def sending(server, data, first):
    """A PUT of which `first` bytes are sent, and the rest by whoever has the socket."""
    opened = server.request("POST", "/v2/slow/blobs/uploads/").headers["location"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        head = f"PUT {opened}?digest={sha256(data)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        s.sendall(head.encode())
        s.sendall(data[:first])
        yield s


def assert_stored(s):
    assert s.recv(4096).startswith(b"HTTP/1.1 201")


def until_in_flight(server, count):
    wait_until(lambda: server.metric("strata_uploads_in_flight") >= count, f"{count} uploads")


# In the database, and in an object.
SIZES = [1000, 300_000]


@pytest.mark.parametrize("size", SIZES)
def test_uploads_over_the_limit_wait_and_none_is_refused(fresh, size):
    """One slot: while a slow client holds it, another's upload waits, reads go on, and then it is stored."""
    server = fresh(**{"uploads.max-in-flight": 1})
    slow, quick = os.urandom(size), os.urandom(size)
    with sending(server, slow, size // 2) as s, concurrent.futures.ThreadPoolExecutor() as pool:
        until_in_flight(server, 1)
        waiting = pool.submit(server.push_blob, "b", quick)
        time.sleep(0.5)
        assert not waiting.done()
        assert server.request("GET", "/v2/").status == 200
        s.sendall(slow[size // 2:])
        assert_stored(s)
        assert waiting.result(timeout=30) == sha256(quick)


@pytest.mark.parametrize("size", SIZES)
def test_a_client_that_the_server_keeps_waiting_is_not_idle(fresh, size):
    """One slot, held for longer than a connection may be idle by a slow client that is not idle either."""
    server = fresh(**{"uploads.max-in-flight": 1, "http.idle-seconds": 2})
    slow, quick = os.urandom(size), os.urandom(size)
    with sending(server, slow, 0) as s, concurrent.futures.ThreadPoolExecutor() as pool:
        until_in_flight(server, 1)
        waiting = pool.submit(server.push_blob, "b", quick)
        for start in range(0, size, size // 10):
            time.sleep(0.6)
            assert not waiting.done()
            s.sendall(slow[start:start + size // 10])
        assert_stored(s)
        assert waiting.result(timeout=30) == sha256(quick)


@pytest.mark.shared
def test_uploads_that_hold_the_memory_for_parts_keep_others_waiting_and_none_is_refused(fresh):
    """Eight parts of 8 MiB, none of which fills: a ninth upload waits for the first of them to be sent."""
    server = fresh(**{"s3.upload-memory-bytes": 64 * MIB})
    slow, quick, small = [os.urandom(8 * MIB) for _ in range(8)], os.urandom(300_000), os.urandom(1000)
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor() as pool:
        sockets = [stack.enter_context(sending(server, data, MIB)) for data in slow]
        # More than the 256 KiB that are gathered before they are written.
        wait_until(lambda: server.metric("strata_blob_upload_bytes_total") == 8 * MIB, "all that was sent")
        waiting = pool.submit(server.push_blob, "b", quick)
        until_in_flight(server, 9)
        assert server.push_blob("b", small) == sha256(small), "what goes into the database needs no part"
        assert not waiting.done()
        for s, data in zip(sockets, slow):
            s.sendall(data[MIB:])
            assert_stored(s)
            assert waiting.result(timeout=30) == sha256(quick)
    for data in [*slow, quick]:
        assert server.request("HEAD", f"/v2/{'b' if data is quick else 'slow'}/blobs/{sha256(data)}").status == 200


@contextlib.contextmanager
def stuck(server, digest, count):
    """Clients that have begun to read a blob, and read no further."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(count):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            s.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            sockets.append(s)
        for s in sockets:
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
        yield sockets


def test_clients_that_stop_reading_cost_no_memory_and_hold_up_nobody(fresh):
    server = fresh(**{"downloads.redirect": "false"})
    data = os.urandom(40_000_000)
    digest = server.push_blob("a", data)
    before = resident(server)
    with stuck(server, digest, 50):
        assert server.request("GET", f"/v2/a/blobs/{digest}").body == data
        assert resident(server) - before < 30_000_000


@pytest.mark.shared
def test_clients_that_stop_reading_leave_the_connections_to_the_store_to_others(fresh):
    """More of them than connections. Whoever reads on later gets the rest."""
    server = fresh(**{"downloads.redirect": "false", "s3.connections": 4})
    data = os.urandom(40_000_000)
    digest = server.push_blob("a", data)
    with stuck(server, digest, 8) as sockets:
        assert server.request("GET", f"/v2/a/blobs/{digest}", timeout=20).body == data
        server.push_blob("a", os.urandom(300_000))
        one = sockets[0]
        one.settimeout(20)
        # All but what was read with the head, which is no multiple of anything.
        rest = b""
        while not data.endswith(rest[-100:]) or len(rest) < len(data) - 4096:
            rest += one.recv(1 << 20)
        assert data.endswith(rest)


def resident(server) -> int:
    for line in open(f"/proc/{server.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
