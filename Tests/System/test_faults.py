"""What goes wrong between a node and its stores, one thing at a time: clients get what they asked for, or an error after
which they may try again; never a wrong byte, and never a success that is none."""
import http.client
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import pytest

from cluster import LOST, RETRYABLE, path_of
from faultproxy import HTTPProxy, Proxy
from harness import Server, sha256
from services import Postgres

pytestmark = pytest.mark.shared
MIB = 1 << 20
# Several parts, and the rest of one.
LARGE = 18 * MIB


class Faulty:
    """A node with a proxy before each of its stores."""

    def __init__(self, postgres, s3=None, **settings):
        self.postgres, self.sql = postgres, Proxy(postgres.port)
        url = postgres.database().replace(f"port={postgres.port}", f"port={self.sql.port}")
        own = {"metadata": "postgres", "postgres.url": url, "postgres.patience-seconds": 3, "log.level": "warning"}
        own["gc.enabled"] = "false"  # or a fault that waits for a commit might meet the collector's
        if s3:
            self.http = HTTPProxy(s3.port)
            self.bucket = s3.bucket()
            own |= s3.settings(self.bucket, endpoint=f"http://127.0.0.1:{self.http.port}")
            own["downloads.redirect"] = "false"
        self.server = Server(settings=own | settings)

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.__exit__()
        self.sql.__exit__()
        if hasattr(self, "http"):
            self.http.__exit__()

    def clear(self):
        self.sql.clear()
        if hasattr(self, "http"):
            self.http.clear()

    def push(self, repository, data):
        """The answer to the last request of an upload; the requests before are sent until they succeed."""
        location = path_of(self.server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
        return self.server.request("PUT", f"{location}?digest={sha256(data)}", body=data)

    def pull(self, repository, data):
        return self.server.request("GET", f"/v2/{repository}/blobs/{sha256(data)}")

    def assert_stored(self, repository, data):
        got = self.pull(repository, data)
        assert got.status == 200 and got.body == data


@pytest.fixture(scope="module")
def node(stores):
    with Faulty(stores.postgres, stores.s3) as made:
        yield made
        made.clear()
        status, report = made.server.verify()
        assert status == 0 and report["findings"] == [], report


@pytest.fixture(autouse=True)
def calm(node):
    yield
    node.clear()


@pytest.fixture(scope="module", autouse=True)
def stalled(node):
    """A push one part of which goes silent: begun first and looked at last, for the silence has to last a while."""
    data = os.urandom(LARGE)
    fault = node.http.fault(r"^PUT .*partNumber=1", "stall-request", after=100_000)
    node.http.faults.remove(fault)  # `calm` would end it
    answers = []

    def push():
        node.http.faults.insert(0, fault)
        began = time.monotonic()
        answers.append((node.push("stalled", data), time.monotonic() - began))

    thread = threading.Thread(target=push)
    thread.start()
    fault.wait()
    node.http.faults.remove(fault)
    yield lambda: (thread.join(), data, *answers[0])
    fault.release()
    thread.join()


# -- The way to PostgreSQL


def test_a_slow_database_only_takes_its_time(node, repository):
    node.sql.latency = 0.03
    data = os.urandom(3_000)
    assert node.push(repository, data).status == 201
    node.assert_stored(repository, data)


def test_a_connection_that_breaks_is_replaced(node, repository):
    data = os.urandom(3_000)
    assert node.push(repository, data).status == 201
    for _ in range(3):
        node.sql.reset_all()
        node.assert_stored(repository, data)
        node.sql.reset_all()
        more = os.urandom(3_000)
        assert node.push(repository, more).status == 201
        node.assert_stored(repository, more)


@pytest.mark.parametrize("size", [3_000, 300_000], ids=["inline", "objects"])
@pytest.mark.parametrize("action", ["reset", "lose"])
def test_a_commit_whose_answer_is_lost_is_looked_up(node, repository, action, size):
    """Whether it had arrived or not, the client is told 201, and that is so."""
    fault = node.sql.fault(rb"COMMIT\0", action)
    data = os.urandom(size)
    assert node.push(repository, data).status == 201
    assert fault.hits == 1
    node.clear()
    node.assert_stored(repository, data)


def test_a_commit_that_cannot_be_looked_up_is_not_called_done(node, repository):
    fault = node.sql.fault(rb"COMMIT\0", "lose")
    data = os.urandom(3_000)
    location = path_of(node.server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
    answers = []
    end = f"{location}?digest={sha256(data)}"
    thread = threading.Thread(target=lambda: answers.append(node.server.request("PUT", end, body=data)))
    thread.start()
    fault.wait()
    node.sql.refuses = True
    thread.join()
    assert answers[0].status == 503 and answers[0].headers["retry-after"]
    node.clear()
    assert node.server.request("PUT", end, body=data).status == 201
    node.assert_stored(repository, data)


def test_a_database_that_is_away_is_waited_for_and_then_missed(node, repository):
    data = os.urandom(3_000)
    assert node.push(repository, data).status == 201
    node.sql.refuses = True
    node.sql.reset_all()
    began = time.monotonic()
    refused = node.pull(repository, data)
    assert refused.status == 503 and refused.codes == ["UNAVAILABLE"] and refused.headers["retry-after"]
    assert time.monotonic() - began < 8
    assert node.server.request("GET", "/healthz").status == 200
    back = threading.Timer(1, node.clear)
    back.start()
    node.assert_stored(repository, data)  # waits that second
    back.join()


def test_a_crash_of_the_database_makes_no_lost_commit_look_done():
    """The transaction never reached the disk, and the database has given its number to another one that did."""
    with Postgres(["fsync = off", "autovacuum = off"]) as postgres, Faulty(postgres) as node:
        data = os.urandom(3_000)
        assert node.push("a", os.urandom(3_000)).status == 201
        postgres.stop_writers()
        fault = node.sql.fault(rb"COMMIT\0", "hold")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(node.push("a", data)))
        thread.start()
        fault.wait()
        number = postgres.sql("SELECT max(backend_xid::text::bigint) FROM pg_stat_activity")
        postgres.kill()
        node.sql.refuses = True
        fault.release()
        postgres.launch()
        for _ in range(20):
            postgres.sql("SELECT pg_current_xact_id()")
        assert postgres.sql(f"SELECT pg_xact_status('{number}')") == "committed", "the number was not given again"
        node.sql.refuses = False
        thread.join()
        assert answers[0].status == 503, "a push was acknowledged that never happened"
        assert node.push("a", data).status == 201
        node.assert_stored("a", data)


@pytest.fixture
def small_disk(stores):
    """A tablespace of 24 MiB, gone when the test ends."""
    folder = tempfile.mkdtemp(prefix="strata-small-")
    owner = stores.postgres.user.get("user", os.geteuid())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=24m,uid={owner},mode=700", "tmpfs", folder], check=True)
    stores.postgres.sql(f"CREATE TABLESPACE small LOCATION '{folder}'")
    yield folder
    stores.postgres.sql("DROP TABLESPACE small")
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


def test_a_database_whose_disk_is_full_refuses_pushes_and_serves_pulls(stores, small_disk):
    postgres = stores.postgres
    settings = stores.settings()
    name = settings["postgres.url"].split("dbname=")[1]
    postgres.sql(f"ALTER DATABASE {name} SET TABLESPACE small")
    ballast = os.path.join(small_disk, "ballast")
    with Server(settings=settings | {"log.level": "error"}) as server:
        kept = {}
        for size in (3_000, 300_000):
            data = os.urandom(size)
            kept[server.push_blob("a", data)] = data
        _, manifest = server.push_image("a", "v1")
        with open(ballast, "wb") as file:
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
            file.write(bytes(max(0, free - MIB)))
        refusals = 0
        for _ in range(500):
            data = os.urandom(12_000)
            location = server.request("POST", "/v2/a/blobs/uploads/").headers["location"]
            put = server.request("PUT", f"{location}?digest={sha256(data)}", body=data)
            if put.status == 201:
                kept[sha256(data)] = data
                continue
            assert put.status == 507 and put.codes == ["INSUFFICIENT_STORAGE"], put
            refusals += 1
            if refusals == 5:
                break
        assert refusals == 5, "the disk never filled"
        assert server.request("GET", "/v2/a/manifests/v1").body == manifest
        for digest, data in kept.items():
            assert server.request("GET", f"/v2/a/blobs/{digest}").body == data
        os.unlink(ballast)
        after = os.urandom(12_000)
        server.push_blob("a", after)
        assert server.request("GET", f"/v2/a/blobs/{sha256(after)}").body == after
        status, report = server.verify()
        assert status == 0 and report["findings"] == [], report
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


# -- The way to the object store: pushes

PART, COMPLETE, WHOLE = r"^PUT .*partNumber=2", r"^POST .*uploadId=", r"^PUT [^?]*$"
ERROR = b"<Error><Code>%s</Code><Message>injected</Message></Error>"


@pytest.mark.parametrize(
    "size, match, action, options",
    [
        (LARGE, PART, "answer", {"status": 503, "body": ERROR % b"SlowDown", "times": 3}),
        (LARGE, PART, "answer", {"status": 500, "body": ERROR % b"InternalError", "times": 2}),
        (LARGE, PART, "answer", {"status": 400, "body": ERROR % b"RequestTimeout"}),
        (LARGE, PART, "reset-request", {"after": MIB, "times": 2}),
        (LARGE, PART, "reset-answer", {"after": -1, "times": 2}),
        (LARGE, r"^POST .*uploads", "answer", {"status": 503}),
        (LARGE, r"^POST .*uploads", "reset-answer", {"after": -1}),
        (LARGE, COMPLETE, "answer", {"status": 503, "times": 2}),
        (LARGE, COMPLETE, "answer", {"status": 200, "body": ERROR % b"InternalError"}),
        (LARGE, COMPLETE, "reset-answer", {"after": -1}),
        (LARGE, COMPLETE, "reset-answer", {"after": 20}),
        (300_000, WHOLE, "answer", {"status": 503, "times": 3}),
        (300_000, WHOLE, "reset-request", {"after": 100_000, "times": 2}),
        (300_000, WHOLE, "reset-answer", {"after": -1, "times": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_to_the_store_that_fails_is_sent_again(node, repository, size, match, action, options):
    fault = node.http.fault(match, action, **options)
    expected = options.get("times", 1)
    data = os.urandom(size)
    assert node.push(repository, data).status == 201
    assert fault.hits == expected
    node.assert_stored(repository, data)


def test_a_slow_store_only_takes_its_time(node, repository):
    node.http.latency = 0.1
    data = os.urandom(LARGE)
    assert node.push(repository, data).status == 201
    node.assert_stored(repository, data)


def test_a_part_with_another_tag_than_we_were_told_is_never_published(node, repository):
    fault = node.http.fault(PART, "alter", headers={"ETag": '"00000000000000000000000000000000"'})
    data = os.urandom(LARGE)
    location = path_of(node.server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
    end = f"{location}?digest={sha256(data)}"
    refused = node.server.request("PUT", end, body=data)
    assert fault.hits == 1 and refused.status == 503, refused
    assert node.pull(repository, data).status == 404
    assert node.server.request("GET", location).status == 404, "there is nothing to go on with"
    assert node.push(repository, data).status == 201
    node.assert_stored(repository, data)


def test_a_chunk_that_the_store_does_not_take_leaves_the_session_where_it_stood(node, repository):
    data = os.urandom(LARGE)
    location = path_of(node.server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
    assert node.server.request("PATCH", location, body=data[:100_000]).status == 202
    node.http.fault(PART, "answer", times=None, status=503)
    refused = node.server.request("PATCH", location, body=data[100_000:])
    assert refused.status == 503 and refused.codes == ["UNAVAILABLE"]
    node.clear()
    assert node.server.request("GET", location).headers["range"] == "0-99999"
    assert node.server.request("PATCH", location, body=data[100_000:]).status == 202
    assert node.server.request("PUT", f"{location}?digest={sha256(data)}").status == 201
    node.assert_stored(repository, data)


@pytest.mark.parametrize("has_tag", [True, False], ids=["", "tags of another kind"])
@pytest.mark.parametrize("first", [0, LARGE - 5], ids=["whole", "last chunk"])
def test_a_completion_whose_answer_is_lost_is_found_to_be_ours(node, repository, first, has_tag):
    """The upload is gone when it is asked for again. Another request may have had the last word, unless the object's tag shows
    that it was ours: where it does not, the object is read."""
    data = os.urandom(LARGE)
    location = path_of(node.server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
    if first:
        assert node.server.request("PATCH", location, body=data[:first]).status == 202
    if not has_tag:
        node.http.fault("^HEAD ", "alter", headers={"ETag": '"opaque"'})
    node.http.fault(COMPLETE, "reset-answer", after=-1)
    again = node.http.fault(COMPLETE, "answer", status=404, body=ERROR % b"NoSuchUpload")
    reads = node.http.fault("^GET ", "alter", times=None)
    assert node.server.request("PUT", f"{location}?digest={sha256(data)}", body=data[first:]).status == 201
    assert again.hits == 1
    tails = 1 if first else 0
    assert (reads.hits > tails) == (first > 0 and not has_tag)
    node.clear()
    node.assert_stored(repository, data)


def test_no_upload_is_read_again_where_the_store_makes_tags_in_its_own_way(stores):
    """As AWS does with objects that it encrypts with a key. The server learns that from what it tries when it starts."""
    node = Faulty(stores.postgres, stores.s3)
    tags = node.http.fault("^HEAD ", "alter", times=None, headers={"ETag": '"opaque"'})
    data = os.urandom(LARGE)
    with node:
        location = path_of(node.server.request("POST", "/v2/a/blobs/uploads/").headers["location"])
        assert node.server.request("PATCH", location, body=data).status == 202
        reads, before = node.http.fault("^GET ", "alter", times=None), tags.hits
        assert node.server.request("PUT", f"{location}?digest={sha256(data)}").status == 201
        assert (reads.hits, tags.hits - before) == (1, 1), "its tail alone is read, and the object looked at"


@pytest.mark.parametrize("first", [0, LARGE - 5], ids=["whole", "last chunk"])
def test_a_blob_that_was_completed_but_not_committed_can_be_pushed_again(node, repository, first):
    """The database goes away between the store's last answer and the commit."""
    data = os.urandom(LARGE)
    location = path_of(node.server.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
    if first:
        assert node.server.request("PATCH", location, body=data[:first]).status == 202
    completed = node.http.fault(COMPLETE, "hold-answer")
    end = f"{location}?digest={sha256(data)}"
    answers = []
    thread = threading.Thread(target=lambda: answers.append(node.server.request("PUT", end, body=data[first:])))
    thread.start()
    completed.wait()
    node.sql.refuses = True
    node.sql.reset_all()
    completed.release()
    thread.join()
    assert answers[0].status == 503, answers
    node.clear()
    again = node.server.request("PUT", end, body=data[first:])
    if first:
        # What came before went into the object that was completed, and cannot be taken out of it again.
        assert again.status == 503 and node.server.request("GET", location).status == 404
        again = node.push(repository, data)
    assert again.status == 201, again
    node.assert_stored(repository, data)


def test_a_store_that_is_away_is_told_within_seconds(node, repository):
    small, large = os.urandom(3_000), os.urandom(300_000)
    node.http.refuses = True
    node.http.reset_all()
    began = time.monotonic()
    refused = node.push(repository, large)
    assert refused.status == 503 and refused.codes == ["UNAVAILABLE"]
    assert time.monotonic() - began < 10
    assert node.push(repository, small).status == 201, "small blobs need no store"
    node.assert_stored(repository, small)
    node.clear()
    assert node.push(repository, large).status == 201
    node.assert_stored(repository, large)


# -- The way to the object store: pulls


@pytest.mark.parametrize("action", ["reset-answer", "end-answer"])
@pytest.mark.parametrize("after", [-1, 0, 100_000])
def test_a_download_that_breaks_off_is_read_on(node, repository, action, after):
    data = os.urandom(2 * MIB)
    assert node.push(repository, data).status == 201
    fault = node.http.fault(r"^GET ", action, after=after, times=2)
    node.assert_stored(repository, data)
    assert fault.hits == 2


def test_a_key_that_the_store_does_not_have_is_asked_for_once_more(node, repository):
    """The blob may be there again under another one."""
    data = os.urandom(2 * MIB)
    assert node.push(repository, data).status == 201
    fault = node.http.fault(r"^GET ", "answer", status=404, body=ERROR % b"NoSuchKey")
    node.assert_stored(repository, data)
    assert fault.hits == 1
    fault = node.http.fault(r"^GET ", "answer", status=404, body=ERROR % b"NoSuchKey", times=None)
    assert node.pull(repository, data).status == 500 and fault.hits == 2


def test_a_download_that_cannot_be_read_on_never_looks_whole(node, repository):
    data = os.urandom(2 * MIB)
    assert node.push(repository, data).status == 201
    node.http.fault(r"^GET ", "end-answer", after=MIB)
    node.http.fault(r"^GET ", "answer", status=503, times=None)
    connection = http.client.HTTPConnection("127.0.0.1", node.server.port, timeout=20)
    connection.request("GET", f"/v2/{repository}/blobs/{sha256(data)}")
    answer = connection.getresponse()
    assert answer.status == 200 and answer.headers["content-length"] == str(len(data))
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert data.startswith(cut.value.partial)
    connection.close()
    assert node.pull(repository, data).status == 503, "nothing was sent yet: the client can be told"
    node.clear()
    node.assert_stored(repository, data)


def test_a_part_that_goes_silent_is_sent_again(node, stalled):
    _, data, answer, seconds = stalled()
    assert answer.status == 201
    assert seconds > 25, "it was not given the time that a slow store needs"
    node.assert_stored("stalled", data)


def test_readiness_says_in_time_for_a_probe_which_store_is_away(stores):
    with Faulty(stores.postgres, stores.s3, **{"postgres.patience-seconds": 15}) as node:
        assert node.server.request("GET", "/readyz").status == 200

        def assert_away(subject):
            for _ in range(3):
                start = time.monotonic()
                answer = node.server.request("GET", "/readyz")
                assert answer.status == 503 and time.monotonic() - start < 2.9
                assert subject in answer.json()["errors"][0]["message"], answer.body

        def assert_back():
            deadline = time.monotonic() + 30
            while node.server.request("GET", "/readyz").status != 200:
                assert time.monotonic() < deadline, node.server.log_text()

        node.sql.refuses = True
        node.sql.reset_all()
        assert_away("the database")
        assert "not ready" in node.server.log_text()
        node.clear()
        assert_back()
        node.http.fault(rf"^GET /{node.bucket}/?\?", "hold-answer", times=None)
        assert_away("the blob store")
        node.clear()
        assert_back()


def test_a_stop_is_orderly_while_the_database_is_away(stores):
    with Faulty(stores.postgres, stores.s3) as node:
        node.server.push_image("a", "v1")
        assert node.server.request("GET", "/v2/a/manifests/v1").status == 200  # a pull to be written down
        node.sql.refuses = True
        node.sql.reset_all()
        assert node.server.stop() == 0
        assert "the last pulls are not counted" in pathlib.Path(node.server.log_path).read_text()
