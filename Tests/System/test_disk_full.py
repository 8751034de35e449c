"""A full disk, or a full object store: clear refusals, nothing lost, and recovery without a restart."""
import json
import os
import subprocess
import tempfile

import pytest

from doctor import Doctor
from faultproxy import HTTPProxy
from harness import BINARY, Server, sha256

MIB = 1 << 20


@pytest.fixture
def small_disk():
    """A file system of 24 MiB, gone when the test ends."""
    folder = tempfile.mkdtemp(prefix="strata-small-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


@pytest.mark.parametrize("size", [2_000_000, 12_000], ids=["objects", "inline"])
def test_a_full_disk_refuses_and_recovers(small_disk, size):
    server = Server(data=os.path.join(small_disk, "data"), settings={"log.level": "error"})
    ballast = os.path.join(small_disk, "ballast")
    with server:
        kept = {}
        first = os.urandom(size)
        kept[server.push_blob("a", first)] = first
        with open(ballast, "wb") as file:
            file.write(bytes(14 << 20))
        refusals = 0
        for _ in range(2000):
            data = os.urandom(size)
            opened = server.request("POST", "/v2/a/blobs/uploads/")
            put = server.request("PUT", f"{opened.headers['location']}?digest={sha256(data)}", body=data)
            if put.status == 201:
                kept[sha256(data)] = data
                continue
            assert put.status == 507 and put.codes == ["INSUFFICIENT_STORAGE"], put
            assert put.headers["retry-after"]
            refusals += 1
            if refusals == 5:
                break
        assert refusals == 5, "the disk never filled"
        for digest, data in kept.items():
            assert server.request("GET", f"/v2/a/blobs/{digest}").body == data
        os.unlink(ballast)
        after = os.urandom(size)
        kept[server.push_blob("a", after)] = after
        for digest, data in kept.items():
            assert server.request("GET", f"/v2/a/blobs/{digest}").body == data
        status, report = server.verify()
        assert status == 0, report


@pytest.fixture
def quota(stores):
    """Settings of a bucket of Ceph's that has a quota of 8 MiB, and what sets another one."""
    settings = stores.settings()

    def limit(size):
        bucket = f"--bucket={settings['s3.bucket']}"
        for command in (["set", f"--max-size={size}"], ["enable"]):
            stores.s3.ceph("radosgw-admin", "-n", "client.rgw.a", "quota", *command, "--quota-scope=bucket", bucket)

    limit(8 * MIB)
    return settings, limit


def push(server, data):
    opened = server.request("POST", "/v2/a/blobs/uploads/")
    return server.request("PUT", f"{opened.headers['location']}?digest={sha256(data)}", body=data)


def assert_full(answer):
    assert answer.status == 507 and answer.codes == ["INSUFFICIENT_STORAGE"] and answer.headers["retry-after"], answer


@pytest.mark.shared
def test_an_object_store_whose_quota_is_used_up_refuses_and_recovers(quota):
    settings, limit = quota
    with Server(settings=settings) as server:
        kept, large = os.urandom(5 * MIB), os.urandom(20 * MIB)
        assert push(server, kept).status == 201
        assert_full(push(server, os.urandom(5 * MIB)))
        assert_full(push(server, large))
        assert server.request("GET", f"/v2/a/blobs/{sha256(kept)}").body == kept
        assert server.request("GET", "/readyz").status == 200
        limit(100 * MIB)
        assert push(server, large).status == 201


@pytest.mark.shared
def test_an_import_stops_when_the_object_store_is_full(quota):
    settings, _ = quota
    with Server() as old:
        for number in range(8):
            old.push_image(f"r{number}", "v1", layers=[os.urandom(5 * MIB)], config=b'{"n":%d}' % number)
        here = Server(settings=settings)
        with here:
            command = [BINARY, "import", "--from", f"http://{old.host}", "--workers", "1", "--json", *here.options]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    report = json.loads(done.stdout)
    assert (done.returncode, report["failureCount"]) == (1, 1), report
    assert report["failures"][0]["reason"] == "The storage of this registry is full."


@pytest.mark.shared
@pytest.mark.parametrize("status,code", [
    (403, "QuotaExceeded"), (400, "XMinioAdminBucketQuotaExceeded"), (507, "InsufficientStorage"), (507, "Other"),
    (503, "InsufficientStorage"),
])
def test_whatever_an_object_store_says_that_is_full(stores, status, code):
    """The doctor says so, and the registry serves what is there."""
    settings = stores.settings()
    with HTTPProxy(stores.s3.port) as way:
        body = f"<Error><Code>{code}</Code><Message>nothing is left</Message></Error>".encode()
        fault = way.fault("^PUT ", "answer", times=None, status=status, body=body)
        doctor = Doctor(settings | {"s3.endpoint": f"http://127.0.0.1:{way.port}"}).migrate()
        found = doctor.examine()["blob store"]
        assert found["state"] == "problem" and "quota" in found["advice"] and "nothing is left" in found["finding"], found
        hits = fault.hits
        with doctor.server as server:
            assert_full(push(server, os.urandom(100_000)))
            assert fault.hits == hits + 2, "once to see what is wrong at start, and once for the client"
