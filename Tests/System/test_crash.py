"""kill -9 at random moments under load: what was acknowledged is there, and nothing dangles.

STRATA_KILLS says how often (200 by default), STRATA_SEED with which seed; the seed is printed.
"""
import concurrent.futures
import http.client
import json
import os
import random
import threading
import time

import pytest

from harness import OCI_MANIFEST, Server, image_manifest, sha256

pytestmark = pytest.mark.seaweedfs

KILLS = int(os.environ.get("STRATA_KILLS", "200"))
SEED = int(os.environ.get("STRATA_SEED", str(random.SystemRandom().randrange(1 << 30))))
WORKERS = 4
FULL_CHECK_EVERY = 50


class Ledger:
    """What the server has acknowledged. A worker has its own repository, so that its own order is the truth."""

    def __init__(self, worker):
        self.repository = f"crash/w{worker}"
        self.random = random.Random(SEED * 1000 + worker)
        self.blobs = {}  # digest → bytes
        self.manifests = {}  # digest → bytes
        self.tags = {}  # tag → set of digests (None for absent) that it may name now
        self.sessions = {}  # location → (bytes received and acknowledged, rest)
        self.unsure = set()  # digests whose deletion was in flight
        self.fresh = []  # digests acknowledged since the last check

    def content(self):
        return self.random.randbytes(self.random.choice([1, 200, 16_384, 16_385, 70_000, 400_000]))


def send(server, method, path, body=None, headers=None):
    """Status and headers; raises OSError or HTTPException if the server died on the way."""
    response = server.request(method, path, body=body, headers=headers, timeout=10)
    assert response.status < 500, (method, path, response)
    return response


def push_blob(server, ledger, data):
    at = f"/v2/{ledger.repository}/blobs/uploads/"
    location = send(server, "POST", at).headers["location"]
    if ledger.random.random() < 0.4:
        cut = ledger.random.randrange(len(data))
        ledger.sessions[location] = (b"", data)
        if send(server, "PATCH", location, data[:cut]).status == 202:
            ledger.sessions[location] = (data[:cut], data[cut:])
        if ledger.random.random() < 0.2:
            return None  # left open: it must survive
        ledger.sessions.pop(location)
        data_left = data[cut:]
    else:
        data_left = data
    assert send(server, "PUT", f"{location}?digest={sha256(data)}", data_left).status == 201
    ledger.blobs[sha256(data)] = data
    ledger.fresh.append(sha256(data))
    return data


def push_image(server, ledger):
    config = ledger.random.randbytes(50)
    layers = [ledger.content() for _ in range(ledger.random.randrange(3))]
    if ledger.blobs and ledger.random.random() < 0.5:
        layers.append(ledger.random.choice(list(ledger.blobs.values())))
    for data in [config, *layers]:
        if sha256(data) not in ledger.blobs and push_blob(server, ledger, data) is None:
            return
    body = json.dumps(image_manifest(config, layers)).encode()
    digest = sha256(body)
    tags = ledger.random.sample(["a", "b", "c", "d"], ledger.random.randrange(1, 4))
    before = {tag: set(ledger.tags.get(tag, {None})) for tag in tags}
    for tag in tags:  # until it is acknowledged, each may name the old or the new
        ledger.tags[tag] = before[tag] | {digest}
    query = "?" + "&".join(f"tag={tag}" for tag in tags)
    put = send(
        server, "PUT", f"/v2/{ledger.repository}/manifests/{digest}{query}", body, {"Content-Type": OCI_MANIFEST}
    )
    assert put.status == 201, put
    ledger.manifests[digest] = body
    ledger.fresh.append(digest)
    for tag in tags:
        ledger.tags[tag] = {digest}


def delete_something(server, ledger):
    kind = ledger.random.choice(["tag", "manifest", "blob"])
    at = f"/v2/{ledger.repository}"
    if kind == "tag" and ledger.tags:
        tag = ledger.random.choice(sorted(ledger.tags))
        ledger.tags[tag] = ledger.tags[tag] | {None}
        send(server, "DELETE", f"{at}/manifests/{tag}")
        ledger.tags[tag] = {None}
    elif kind == "manifest" and ledger.manifests:
        digest = ledger.random.choice(sorted(ledger.manifests))
        ledger.unsure.add(digest)
        ledger.manifests.pop(digest)
        for tag, may in ledger.tags.items():
            if digest in may:
                ledger.tags[tag] = may | {None}
        assert send(server, "DELETE", f"{at}/manifests/{digest}").status == 202
    elif kind == "blob" and ledger.blobs:
        digest = ledger.random.choice(sorted(ledger.blobs))
        data = ledger.blobs.pop(digest)
        if send(server, "DELETE", f"{at}/blobs/{digest}").status == 405:
            ledger.blobs[digest] = data


def mount_something(server, ledger, others):
    other = ledger.random.choice(others)
    if other.blobs:
        digest, data = ledger.random.choice(list(other.blobs.items()))
        path = f"/v2/{ledger.repository}/blobs/uploads/?mount={digest}&from={other.repository}"
        if send(server, "POST", path).status == 201:
            ledger.blobs[digest] = data
            ledger.fresh.append(digest)


def work(server, ledger, others, stop, failures):
    try:
        while not stop.is_set():
            choice = ledger.random.random()
            if choice < 0.5:
                push_image(server, ledger)
            elif choice < 0.7:
                push_blob(server, ledger, ledger.content())
            elif choice < 0.85:
                delete_something(server, ledger)
            else:
                mount_something(server, ledger, others)
    except (OSError, http.client.HTTPException):
        pass  # the server was killed
    except BaseException as failure:
        failures.append(failure)


def check_all(server, ledgers, everything):
    with concurrent.futures.ThreadPoolExecutor(len(ledgers)) as pool:
        list(pool.map(lambda ledger: check(server, ledger, everything), ledgers))


def check(server, ledger, everything):
    at = f"/v2/{ledger.repository}"
    digests = set(ledger.blobs) | set(ledger.manifests) if everything else set(ledger.fresh)
    for digest in digests:
        for kind, known in (("blobs", ledger.blobs), ("manifests", ledger.manifests)):
            if digest in known:
                got = server.request("GET", f"{at}/{kind}/{digest}")
                assert got.status == 200 and sha256(got.body) == digest, (kind, digest, got.status)
    ledger.fresh.clear()
    for tag, may in ledger.tags.items():
        head = server.request("HEAD", f"{at}/manifests/{tag}")
        named = head.headers.get("docker-content-digest")
        assert named in may, (tag, named, may)
        ledger.tags[tag] = {named}
    for location, (received, rest) in list(ledger.sessions.items()):
        status = server.request("GET", location)
        assert status.status == 204, (location, status)
        stands_at = int(status.headers["range"].split("-")[1]) + 1
        data = received + rest
        if stands_at < max(len(received), 2):
            stands_at = len(received)
        assert len(received) <= stands_at <= len(data), (stands_at, len(received))
        put = finish(server, location, data, stands_at)
        if put.status == 416:  # the database has only now committed what the killed process had sent it
            put = finish(server, location, data, int(server.request("GET", location).headers["range"].split("-")[1]) + 1)
        assert put.status == 201, (location, put)
        ledger.blobs[sha256(data)] = data
        ledger.fresh.append(sha256(data))
    ledger.sessions.clear()


def finish(server, location, data, stands_at):
    """Says where the rest belongs, so that it is never put behind other bytes than those that it follows."""
    rest = data[stands_at:]
    belongs = {"Content-Range": f"{stands_at}-{len(data) - 1}"} if rest else {}
    deadline = time.monotonic() + 40
    while True:
        put = server.request("PUT", f"{location}?digest={sha256(data)}", body=rest, headers=belongs)
        # A node that was not killed may still be busy with the request that the client gave up.
        if put.status != 409 or time.monotonic() > deadline:
            return put
        time.sleep(float(put.headers["retry-after"]))


def assert_clean(server):
    status, report = server.verify()
    assert status == 0 and report["findings"] == [], report


def test_nothing_acknowledged_is_lost(stores):
    print(f"STRATA_SEED={SEED} STRATA_KILLS={KILLS}")
    chance = random.Random(SEED)
    ledgers = [Ledger(n) for n in range(WORKERS)]
    failures = []
    with Server(settings=stores.settings() | {"log.level": "warning"}) as server:
        for kill in range(1, KILLS + 1):
            stop = threading.Event()
            threads = [
                threading.Thread(target=work, args=(server, one, [o for o in ledgers if o is not one], stop, failures))
                for one in ledgers
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.02, 0.35))
            server.kill()
            stop.set()
            for thread in threads:
                thread.join()
            assert not failures, failures
            server.start()
            check_all(server, ledgers, everything=kill % FULL_CHECK_EVERY == 0)
            if kill % FULL_CHECK_EVERY == 0:
                assert_clean(server)
        check_all(server, ledgers, everything=True)
        assert_clean(server)
        pushed = sum(len(one.blobs) + len(one.manifests) for one in ledgers)
        assert pushed > KILLS, "the load was too small to mean anything"
