"""A full disk: clear refusals, nothing lost, and recovery without a restart."""
import os
import subprocess
import tempfile

import pytest

from harness import Server, sha256


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
