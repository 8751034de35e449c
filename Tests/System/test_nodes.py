"""Many nodes are one registry: whatever one of them was told, all of them know."""
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster import LOST, RETRYABLE, HAProxy, cluster, path_of
from faultproxy import HTTPProxy, Proxy
from harness import OCI_MANIFEST, Server, image_manifest, sha256
from images import small_layer
from services import wait_until
from test_clients import containerd, docker, home, layout, run, skopeo_push  # noqa: F401 (fixtures)

pytestmark = pytest.mark.shared
MIB = 1 << 20


@pytest.fixture(scope="module")
def nodes(stores):
    settings = stores.settings() | {"downloads.redirect": "false"}
    with cluster(3, settings) as three:
        yield three
        status, report = three[0].verify()
        assert status == 0 and report["findings"] == [], report


@pytest.fixture(scope="module")
def balanced(nodes):
    with HAProxy(nodes) as proxy:
        yield proxy.client


def start(node, repository):
    opened = node.request("POST", f"/v2/{repository}/blobs/uploads/")
    assert opened.status == 202, opened
    return path_of(opened.headers["location"])


def patch(node, location, data, at):
    return node.request("PATCH", location, body=data, headers={"Content-Range": f"{at}-{at + len(data) - 1}"})


# -- Uploads


@pytest.mark.parametrize("size", [3_000, 300_000, 9 * MIB], ids=["inline", "objects", "parts"])
def test_each_request_of_an_upload_may_go_to_another_node(nodes, repository, size):
    a, b, c = nodes
    data = os.urandom(3 * size)
    location = start(a, repository)
    assert patch(b, location, data[:size], 0).headers["range"] == f"0-{size - 1}"
    assert patch(c, location, data[size : 2 * size], size).headers["range"] == f"0-{2 * size - 1}"
    for node in nodes:
        status = node.request("GET", location)
        assert (status.status, status.headers["range"]) == (204, f"0-{2 * size - 1}")
    assert a.request("PUT", f"{location}?digest={sha256(data)}", body=data[2 * size :]).status == 201
    for node in nodes:
        assert node.request("GET", f"/v2/{repository}/blobs/{sha256(data)}").body == data


def test_the_same_through_a_balancer(nodes, balanced, repository):
    """More requests than nodes, so that neighbours never meet the same one."""
    data = os.urandom(700_000)
    location = start(balanced, repository)
    for at in range(0, 600_000, 100_000):
        assert patch(balanced, location, data[at : at + 100_000], at).status == 202
    assert balanced.request("PUT", f"{location}?digest={sha256(data)}", body=data[600_000:]).status == 201
    assert balanced.request("GET", f"/v2/{repository}/blobs/{sha256(data)}").body == data
    assert all(node.metric("strata_http_requests_total") > 0 for node in nodes)


def test_a_chunk_out_of_order_is_refused_by_every_node(nodes, repository):
    location = start(nodes[0], repository)
    assert patch(nodes[1], location, b"0123456789", 0).status == 202
    for node in nodes:
        for at in (0, 5, 11):
            refused = patch(node, location, b"x", at)
            assert (refused.status, refused.headers["range"]) == (416, "0-9")
    assert patch(nodes[2], location, b"abc", 10).status == 202


@pytest.mark.parametrize("size", [0, 3_000, 300_000], ids=["nothing", "inline", "objects"])
def test_a_cancelled_upload_is_gone_on_every_node(nodes, repository, size):
    location = start(nodes[0], repository)
    if size:
        assert patch(nodes[1], location, bytes(size), 0).status == 202
    assert nodes[2].request("DELETE", location).status == 204
    for node in nodes:
        for gone in (
            node.request("GET", location),
            node.request("PATCH", location, body=b"x"),
            node.request("PUT", f"{location}?digest={sha256(b'x')}", body=b"x"),
            node.request("DELETE", location),
        ):
            assert gone.status == 404 and gone.codes == ["BLOB_UPLOAD_UNKNOWN"], gone


def test_a_wrong_digest_ends_the_upload_on_every_node(nodes, repository):
    location = start(nodes[0], repository)
    assert patch(nodes[1], location, b"some", 0).status == 202
    wrong = nodes[2].request("PUT", f"{location}?digest={sha256(b'other')}")
    assert wrong.status == 400 and wrong.codes == ["DIGEST_INVALID"]
    for node in nodes:
        assert node.request("GET", location).status == 404


@pytest.mark.parametrize("size", [3_000, 300_000, 18 * MIB], ids=["inline", "objects", "parts"])
def test_the_last_request_may_be_sent_again_to_any_node(nodes, repository, size):
    """Its answer may have been lost with the node that gave it."""
    data = os.urandom(size)
    location = start(nodes[0], repository)
    assert patch(nodes[1], location, data[:-100], 0).status == 202
    end = f"{location}?digest={sha256(data)}"
    headers = {"Content-Range": f"{size - 100}-{size - 1}"}
    for node in (nodes[2], nodes[2], nodes[0], nodes[1]):
        again = node.request("PUT", end, body=data[-100:], headers=headers)
        assert again.status == 201 and again.headers["docker-content-digest"] == sha256(data), again
    location = start(nodes[0], repository)
    assert patch(nodes[1], location, data, 0).status == 202
    for node in (nodes[2], nodes[2], nodes[0]):
        assert node.request("PUT", f"{location}?digest={sha256(data)}").status == 201


class Slowly:
    """A request whose body waits in the middle, until it is finished or cut off."""

    def __init__(self, node, method, path, first, rest):
        import http.client

        self.connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
        self.connection.putrequest(method, path)
        self.connection.putheader("Content-Length", str(len(first) + len(rest)))
        self.connection.endheaders()
        self.connection.send(first)
        self.rest = rest

    def cut(self):
        self.connection.close()

    def finish(self):
        """The answer's status and body."""
        self.connection.send(self.rest)
        answer = self.connection.getresponse()
        body = answer.read()
        self.connection.close()
        return answer.status, body


def wait_for_bytes(node, before, count):
    deadline = time.monotonic() + 10
    while node.metric("strata_blob_upload_bytes_total") < before + count:
        assert time.monotonic() < deadline, "the node never got the bytes"
        time.sleep(0.02)


def test_a_forgotten_request_takes_nothing_back_that_another_node_has_acknowledged(nodes, repository):
    """The client has given up a request that its node still works on, and goes on elsewhere."""
    a, b, c = nodes
    data = os.urandom(400_000)
    location = start(a, repository)
    assert patch(a, location, data[:100_000], 0).status == 202
    before = a.metric("strata_blob_upload_bytes_total")
    forgotten = Slowly(a, "PATCH", location, data[100_000:130_000], data[130_000:140_000])
    wait_for_bytes(a, before, 30_000)
    assert patch(b, location, data[100_000:300_000], 100_000).status == 202
    status, body = forgotten.finish()
    assert status == 409 and b"UPLOAD_BUSY" in body, (status, body)
    assert c.request("GET", location).headers["range"] == "0-299999"
    assert c.request("PUT", f"{location}?digest={sha256(data)}", body=data[300_000:]).status == 201
    assert a.request("GET", f"/v2/{repository}/blobs/{sha256(data)}").body == data


@pytest.mark.parametrize("end", ["client", "node"])
def test_a_whole_upload_that_broke_off_may_be_sent_again_from_its_start(nodes, repository, end):
    """PUT is no request to go on with: whoever repeats it, on whatever node, sends all of it."""
    a, b, _ = nodes
    data = os.urandom(26 * MIB)
    location = start(b, repository)
    target = f"{location}?digest={sha256(data)}"
    before = a.metric("strata_blob_upload_bytes_total")
    broken = Slowly(a, "PUT", target, data[: 25 * MIB], data[25 * MIB :])
    wait_for_bytes(a, before, 25 * MIB)
    if end == "node":
        a.kill()
        a.start()
    broken.cut()
    if end == "client":
        wait_until("the end of the request", lambda: a.metric("strata_uploads_in_flight") == 0)
    assert b.request("GET", location).headers["range"] == "0-0"
    assert b.request("PUT", target, body=data).status == 201
    assert b.request("GET", f"/v2/{repository}/blobs/{sha256(data)}").body == data


def test_a_chunk_that_a_killed_node_was_receiving_is_kept_but_for_the_part_in_flight(nodes, repository):
    a, b, c = nodes
    data = os.urandom(50 * MIB)
    location = start(b, repository)
    before = a.metric("strata_blob_upload_bytes_total")
    broken = Slowly(a, "PATCH", location, data[: 40 * MIB], data[40 * MIB :])
    wait_for_bytes(a, before, 40 * MIB)
    a.kill()
    a.start()
    broken.cut()
    stands = int(b.request("GET", location).headers["range"].split("-")[1]) + 1
    assert 40 * MIB - 2 * 8 * MIB <= stands <= 40 * MIB, "a part that is sent and one that fills are lost, no more"
    assert patch(c, location, data[stands:], stands).status == 202
    assert b.request("PUT", f"{location}?digest={sha256(data)}").status == 201
    assert a.request("GET", f"/v2/{repository}/blobs/{sha256(data)}").body == data


@pytest.mark.parametrize("late", ["cancel", "wrong digest", "the same"])
def test_a_late_request_on_another_node_destroys_nothing_that_was_published(stores, nodes, repository, late):
    """It has looked the session up before it was finished elsewhere, and acts on what it saw."""
    a = nodes[0]
    data = os.urandom(300_000)
    url = a.settings["postgres.url"]
    with Proxy(stores.postgres.port) as proxy:
        slow_url = url.replace(f"port={stores.postgres.port}", f"port={proxy.port}")
        with Server(data=a.data, settings={**a.settings, "postgres.url": slow_url}) as slow:
            location = start(a, repository)
            assert patch(a, location, data, 0).status == 202
            # Its look at the session goes through; the first change after that waits.
            held = proxy.fault(rb"(DELETE FROM|INTO) upload_session|UPDATE object_trash", "hold")
            answers = []
            request = {
                "cancel": ("DELETE", location),
                "wrong digest": ("PUT", f"{location}?digest={sha256(b'other')}"),
                "the same": ("PUT", f"{location}?digest={sha256(data)}"),
            }[late]
            thread = threading.Thread(target=lambda: answers.append(slow.request(*request)))
            thread.start()
            held.wait()
            assert a.request("PUT", f"{location}?digest={sha256(data)}").status == 201
            held.release()
            thread.join()
            assert answers[0].status == {"cancel": 204, "wrong digest": 400, "the same": 201}[late], answers
    got = a.request("GET", f"/v2/{repository}/blobs/{sha256(data)}")
    assert got.status == 200 and got.body == data


@pytest.mark.shared
@pytest.mark.seaweedfs
@pytest.mark.parametrize("answer", ["its own", "NoSuchUpload"])
def test_of_two_last_requests_none_publishes_the_other_ones_end(stores, nodes, repository, answer):
    """Their last parts are of one size and have one number. The other one has completed the object before this one tries; how
    a store answers to that is its own: Ceph with 500, SeaweedFS with 200, AWS with 404."""
    settings, complete = nodes[0].settings, r"^POST .*uploadId="
    ends = {"this": os.urandom(1000), "other": os.urandom(1000)}
    start_of_both = os.urandom(18 * MIB)
    location = start(nodes[0], repository)
    assert patch(nodes[0], location, start_of_both, 0).status == 202
    answers = {}

    def finish(which, node):
        target = f"{location}?digest={sha256(start_of_both + ends[which])}"
        answers[which] = node.request("PUT", target, body=ends[which])

    with HTTPProxy(stores.s3.port) as this_way, HTTPProxy(stores.s3.port) as other_way:
        this, other = [
            Server(data=nodes[0].data, settings=settings | {"s3.endpoint": f"http://127.0.0.1:{way.port}"})
            for way in (this_way, other_way)
        ]
        with this, other:
            before = this_way.fault(complete, "stall-request")
            if answer == "NoSuchUpload":
                this_way.fault(complete, "answer", status=404, body=b"<Error><Code>NoSuchUpload</Code></Error>")
            after = other_way.fault(complete, "hold-answer")
            threads = [threading.Thread(target=finish, args=one) for one in [("this", this), ("other", other)]]
            threads[0].start()
            before.wait()
            threads[1].start()
            after.wait()  # it is complete, and published by none
            before.release()
            threads[0].join()
            after.release()
            threads[1].join()
    assert answers["this"].status in (400, 503), answers["this"]
    for which, end in ends.items():
        got = nodes[0].request("GET", f"/v2/{repository}/blobs/{sha256(start_of_both + end)}")
        assert got.status == (200 if answers[which].status == 201 else 404)
        assert got.status == 404 or got.body == start_of_both + end
        nodes[0].push_blob(repository, start_of_both + end)
        assert nodes[0].request("GET", f"/v2/{repository}/blobs/{sha256(start_of_both + end)}").body == start_of_both + end


# -- Tags


def test_a_tag_is_seen_everywhere_at_once(nodes, repository):
    for number in range(12):
        config = b'{"n":%d}' % number
        pusher = nodes[number % 3]
        digest, body = pusher.push_image(repository, "latest", config=config)
        for node in nodes:
            assert node.request("HEAD", f"/v2/{repository}/manifests/latest").headers["docker-content-digest"] == digest
            assert node.request("GET", f"/v2/{repository}/manifests/latest").body == body
    assert nodes[1].request("DELETE", f"/v2/{repository}/manifests/latest").status == 202
    assert [node.request("HEAD", f"/v2/{repository}/manifests/latest").status for node in nodes] == [404] * 3
    assert nodes[2].request("GET", f"/v2/{repository}/tags/list").json()["tags"] == []


def test_one_of_those_who_move_a_tag_wins(nodes, repository):
    """Every one of them says from what it moves the tag; all others are told 412."""
    nodes[0].push_blob(repository, b"{}")
    nodes[0].push_blob(repository, b"layer")
    bodies = [json.dumps(image_manifest(annotations={"n": str(n)})).encode() for n in range(9)]
    nodes[0].push_image(repository, "race")
    for round_ in range(4):
        current = nodes[round_ % 3].request("HEAD", f"/v2/{repository}/manifests/race").headers["etag"]
        order = bodies[round_:] + bodies[:round_]
        candidates = [b for b in order if f'"{sha256(b)}"' != current][:6]
        barrier = threading.Barrier(len(candidates))

        def move(number):
            barrier.wait()
            return nodes[number % 3].push_manifest(
                repository, "race", candidates[number], headers={"If-Match": current}
            ).status

        with ThreadPoolExecutor(len(candidates)) as pool:
            statuses = list(pool.map(move, range(len(candidates))))
        assert sorted(statuses) == [201] + [412] * (len(candidates) - 1), statuses
        winner = sha256(candidates[statuses.index(201)])
        for node in nodes:
            head = node.request("HEAD", f"/v2/{repository}/manifests/race")
            assert head.headers["docker-content-digest"] == winner


# -- Clients


def test_skopeo_through_a_balancer(balanced, layout, home):
    for tag in ("debian", "small"):
        skopeo_push(balanced, layout, tag, "skopeo/image")
        folder = home / f"balanced-{tag}"
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{balanced.host}/skopeo/image:{tag}", f"oci:{folder}:{tag}")
        for blob in (folder / "blobs/sha256").iterdir():
            assert blob.read_bytes() == (layout.folder / "blobs/sha256" / blob.name).read_bytes()


def test_docker_through_a_balancer(balanced, docker):
    for _ in range(50):
        if subprocess.run([*docker, "version"], capture_output=True).returncode == 0:
            break
        time.sleep(0.2)
    image = f"{balanced.host}/docker/image:v1"
    layer = small_layer({"x": os.urandom(3 * MIB)})
    assert subprocess.run([*docker, "import", "-", image], input=layer, capture_output=True).returncode == 0
    run(*docker, "push", image)
    run(*docker, "rmi", image)
    run(*docker, "pull", image)


# -- Nodes come and go


class Client:
    """Pushes through a balancer as a patient client does: after an error it asks where the upload stands."""

    def __init__(self, balanced, repository):
        self.balanced, self.repository = balanced, repository
        self.acknowledged = {}
        self.lost = []  # bytes that had to be sent again after an error
        self.errors = []

    def request(self, *arguments, **options):
        """The answer, or None for one that tells the client to try again. Anything else fails the test."""
        try:
            answer = self.balanced.request(*arguments, timeout=20, **options)
        except LOST:
            return None
        assert answer.status < 500 or answer.status in RETRYABLE, answer
        if answer.status in RETRYABLE or answer.status == 409 and answer.codes == ["UPLOAD_BUSY"]:
            time.sleep(0.02)
            return None
        return answer

    def until_answered(self, *arguments, **options):
        for _ in range(400):
            if answer := self.request(*arguments, **options):
                return answer
        raise AssertionError(f"no answer to {arguments[:2]}")

    def push(self, data, chunk):
        location = path_of(self.until_answered("POST", f"/v2/{self.repository}/blobs/uploads/").headers["location"])
        at = 0
        while at < len(data):
            piece = data[at : at + chunk]
            headers = {"Content-Range": f"{at}-{at + len(piece) - 1}"}
            answer = self.request("PATCH", location, body=piece, headers=headers)
            if answer is None or answer.status == 416:
                status = self.until_answered("GET", location)
                assert status.status == 204, status
                stands = int(status.headers["range"].split("-")[1]) + 1
                stands = 0 if stands == 1 else stands
                assert at <= stands <= at + len(piece), "an acknowledged chunk is gone"
                self.lost.append(at + len(piece) - stands)
                at = stands
            else:
                assert answer.status == 202, answer
                at += len(piece)
        put = self.until_answered("PUT", f"{location}?digest={sha256(data)}")
        assert put.status == 201, put
        self.acknowledged[sha256(data)] = data


def check(node, clients):
    for client in clients:
        for digest, data in client.acknowledged.items():
            assert node.request("GET", f"/v2/{client.repository}/blobs/{digest}").body == data


def work(client, stop, failures):
    try:
        while not stop.is_set():
            client.push(os.urandom(1_200_000), 200_000)
    except BaseException as failure:
        failures.append(failure)


def under_load(balanced, repository, body):
    clients = [Client(balanced, f"{repository}/c{n}") for n in range(4)]
    stop, failures = threading.Event(), []
    threads = [threading.Thread(target=work, args=(c, stop, failures)) for c in clients]
    for thread in threads:
        thread.start()
    try:
        body()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    assert all(client.acknowledged for client in clients)
    return clients


def test_uploads_go_on_when_a_node_is_killed(nodes, balanced, repository):
    def kill():
        for number in range(6):
            time.sleep(0.25)
            nodes[number % 3].kill()
            time.sleep(0.15)
            nodes[number % 3].start()

    clients = under_load(balanced, repository, kill)
    assert sum(len(client.lost) for client in clients) > 0, "no upload was hit"
    check(nodes[0], clients)


def test_nodes_are_replaced_one_after_the_other(nodes, balanced, repository):
    def roll():
        for node in nodes * 2:
            assert node.stop() == 0
            node.start()
            time.sleep(0.3)

    check(nodes[1], under_load(balanced, repository, roll))


def test_nodes_that_start_together_migrate_once(stores):
    settings = stores.settings()
    with ThreadPoolExecutor(4) as pool:
        servers = [Server(settings=settings) for _ in range(4)]
        try:
            list(pool.map(lambda server: server.start(), servers))
            logs = [server.log_text() for server in servers]
            assert sum("schema migrated" in text for text in logs) == 1, logs
            location = start(servers[0], "shared/secret")
            assert [server.request("GET", location).status for server in servers] == [204] * 4
        finally:
            for server in servers:
                server.__exit__()


def test_nodes_of_the_previous_release_serve_while_a_new_one_migrates(stores):
    """The index that they lack is being built, and waits for one of their transactions."""
    settings = stores.settings() | {"gc.enabled": "false", "retention.enabled": "false"}
    new = Server(settings=settings | {"postgres.set-limits": "false"})  # whoever waited for it would wait for long
    with Server(settings=settings) as old, ThreadPoolExecutor() as pool:
        old.push_image("shared/app", "v1")
        stores.sql(old, "DROP INDEX tag_announced; DELETE FROM schema_migration WHERE version >= 4")
        try:
            with stores.session(old, "BEGIN; UPDATE tag SET updated_at = updated_at"):
                starting = pool.submit(new.start)
                builds = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
                wait_until("the build", lambda: stores.sql(old, builds))
                old.push_image("shared/app", "v2")
                assert old.request("GET", "/v2/shared/app/tags/list").json()["tags"] == ["v1", "v2"]
                assert old.request("GET", "/readyz").status == 200
                assert not starting.done()
            assert starting.result().request("GET", "/v2/shared/app/tags/list").json()["tags"] == ["v1", "v2"]
            assert new.request("GET", "/readyz").status == 200
        finally:
            new.__exit__()
