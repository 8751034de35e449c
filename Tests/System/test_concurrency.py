"""Many clients at once."""
import json
import os
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import image_manifest, sha256

pytestmark = pytest.mark.seaweedfs

MIB = 1 << 20


def peak_rss_mib(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) / 1024


def forget_peak(server):
    """From now on `peak_rss_mib` is of what comes."""
    with open(f"/proc/{server.process.pid}/clear_refs", "w") as clear:
        clear.write("5")


def at_once(count, body):
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        return body(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# Bytes that uploads may hold in memory before they wait for an object store, the least that can be chosen, in MiB; and what a
# debug build takes besides, with 50 connections.
BUDGET, BASE = 64, 192


def test_fifty_uploads_and_pulls_of_40_mib(fresh, stores):
    """One pipeline pushes 50 layers side by side; memory stays bounded, and each comes back as it was."""
    server = fresh(log__level="warning", s3__upload_memory_bytes=BUDGET * MIB)
    tail = os.urandom(40 * MIB - 4)
    contents = {}

    def push(number):
        data = number.to_bytes(4, "big") + tail
        contents[number] = server.push_blob("a", data)

    at_once(50, push)
    print(f"peak RSS of 50 uploads: {peak_rss_mib(server):.0f} MiB")
    assert peak_rss_mib(server) < BUDGET + BASE
    forget_peak(server)

    def pull(number):
        return sha256(server.request("GET", f"/v2/a/blobs/{contents[number]}").body) == contents[number]

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(pull, range(50)))
    print(f"peak RSS of 50 pulls, 10 at a time: {peak_rss_mib(server):.0f} MiB")
    assert peak_rss_mib(server) < BUDGET + BASE
    assert len(stores.objects(server)) == 50


def test_a_body_in_chunks_of_a_byte_takes_no_more_memory_than_any_other(fresh):
    """How a client cuts its body is its own affair."""
    server = fresh(log__level="warning")
    server.push_blob("a", os.urandom(MIB))
    data = os.urandom(2 * MIB)
    at = server.request("POST", "/v2/a/blobs/uploads/").headers["location"]
    forget_peak(server)
    before = peak_rss_mib(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as s:
        head = f"PATCH {at} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        s.sendall(head.encode() + b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 202 "), answer
    at = re.search(rb"(?im)^location: (\S+)", answer)[1].decode()
    assert server.request("PUT", f"{at}?digest={sha256(data)}").status == 201
    print(f"{peak_rss_mib(server) - before:.0f} MiB more")
    assert peak_rss_mib(server) - before < 16
    assert server.request("GET", f"/v2/a/blobs/{sha256(data)}").body == data


def test_one_blob_from_fifty_clients_is_stored_once(fresh, stores):
    server = fresh(log__level="warning")
    data = os.urandom(5 * MIB)
    at_once(50, lambda number: server.push_blob(f"r{number}", data))
    assert len(stores.objects(server)) == 1
    outcomes = {k: v for k, v in server.metrics().items() if k.startswith("strata_blob_uploads_total")}
    assert outcomes == {
        'strata_blob_uploads_total{outcome="stored"}': 1, 'strata_blob_uploads_total{outcome="deduplicated"}': 49,
    }
    assert server.verify()[0] == 0


def manifests(server, repository, count):
    server.push_blob(repository, b"{}")
    return [json.dumps(image_manifest(layers=(), annotations={"n": str(n)})).encode() for n in range(count)]


def test_one_of_many_creates_a_tag(server, repository):
    bodies = manifests(server, repository, 32)
    answers = at_once(
        32, lambda n: server.push_manifest(repository, "t", bodies[n], headers={"If-None-Match": "*"}).status
    )
    assert sorted(answers) == [201] + [412] * 31
    assert server.request("GET", f"/v2/{repository}/manifests/t").body == bodies[answers.index(201)]


def test_no_conditional_update_is_lost(server, repository):
    """Eight writers each add their mark to an annotation by read, change, write with If-Match."""
    bodies = manifests(server, repository, 1)
    server.push_manifest(repository, "t", bodies[0])

    def add(number):
        while True:
            got = server.request("GET", f"/v2/{repository}/manifests/t")
            changed = got.json()
            changed["annotations"][f"writer-{number}"] = "1"
            put = server.push_manifest(repository, "t", changed, headers={"If-Match": got.headers["etag"]})
            if put.status == 201:
                return
            assert put.status == 412

    at_once(8, add)
    final = server.request("GET", f"/v2/{repository}/manifests/t").json()["annotations"]
    assert set(final) == {"n"} | {f"writer-{n}" for n in range(8)}


def test_deleting_against_pushing_breaks_no_image(server, repository):
    """A manifest that was accepted always pulls whole, whatever is deleted meanwhile."""
    layers = [os.urandom(20_000) for _ in range(4)]
    stop = threading.Event()
    pace = [0.1]  # seconds that a push takes here: the deleter wins some races and loses some
    chance = random.Random(1)

    def delete():
        while not stop.wait(chance.uniform(0, 2 * pace[0])):
            path = f"/v2/{repository}/blobs/{sha256(chance.choice(layers))}"
            assert server.request("DELETE", path).status in (202, 404, 405)

    deleter = threading.Thread(target=delete)
    deleter.start()
    accepted = 0
    server.push_blob(repository, b"{}")
    for number in range(60):
        start = time.monotonic()
        for layer in layers:
            server.push_blob(repository, layer)
        pace[0] = time.monotonic() - start
        put = server.push_manifest(repository, f"t{number}", image_manifest(layers=layers, annotations={"n": str(number)}))
        assert put.status in (201, 404), put
        if put.status == 201:
            accepted += 1
            for layer in layers:
                assert server.request("GET", f"/v2/{repository}/blobs/{sha256(layer)}").body == layer
            assert server.request("DELETE", f"/v2/{repository}/manifests/{put.headers['docker-content-digest']}").status == 202
    stop.set()
    deleter.join()
    print(f"{accepted} of 60 manifests were accepted")
    assert 0 < accepted, "the deleter won every race, so nothing was shown"


def test_an_abandoned_upload_leaves_no_stray_object(fresh, stores):
    server = fresh()
    location = server.request("POST", "/v2/a/blobs/uploads/").headers["location"]
    server.request("PATCH", location, body=os.urandom(100_000))
    assert server.verify() == (0, {"blobs": 0, "bytes": 0, "findings": [], "manifests": 0, "repaired": 0})
    server.request("DELETE", location)
    assert stores.objects(server) == []
