"""Objects that no row knows: they are told of, and given to the trash by a repair alone, and only once they are a week old."""
import contextlib
import datetime
import os
import pathlib
import time

import pytest

from cluster import path_of
from faultproxy import HTTPProxy
from harness import sha256, wait_until
from test_collection import LARGE, quick, status

MIB = 1 << 20
TRASH = 6  # seconds


class Folder:
    """What lies in the data folder of a server."""

    def __init__(self, server, stores):
        self.folder = pathlib.Path(server.data, "objects")

    def add(self, key, data):
        (self.folder / key[:2] / key).write_bytes(data)

    def remove(self, key):
        (self.folder / key[:2] / key).unlink()

    @contextlib.contextmanager
    def aged(self, days):
        """All objects are as old as that. Yields the options of a command that is to see it."""
        then = time.time() - days * 86_400
        for path in self.folder.rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))
        yield []


class Bucket:
    """The same of a bucket. No store lets itself be told how old an object is: what it lists is passed on with another date."""

    def __init__(self, server, stores):
        self.s3, self.name = stores.s3, server.settings["s3.bucket"]

    def add(self, key, data):
        self.s3.client().put_object(Bucket=self.name, Key=f"{key[:2]}/{key}", Body=data)

    def remove(self, key):
        self.s3.client().delete_object(Bucket=self.name, Key=f"{key[:2]}/{key}")

    @contextlib.contextmanager
    def aged(self, days):
        then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
        items = "".join(
            f"<Contents><Key>{item['Key']}</Key><LastModified>{then:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<Size>{item['Size']}</Size></Contents>"
            for item in self.s3.client().list_objects_v2(Bucket=self.name).get("Contents", [])
        )
        body = f"<ListBucketResult>{items}</ListBucketResult>".encode()
        with HTTPProxy(self.s3.port) as proxy:
            listed = proxy.fault(r"^GET .*list-type=2(?!.*max-keys)", "answer", times=None, status=200, body=body)
            yield ["--set", f"s3.endpoint=http://127.0.0.1:{proxy.port}"]
        assert listed.hits > 0


def place(server, stores):
    return (Folder if stores.name == "embedded" else Bucket)(server, stores)


def strays(report):
    """Kind, key, and the end of what is said of each."""
    return [(f["kind"], f["subject"], f["detail"].split("; ")[-1]) for f in report["findings"]]


@pytest.mark.seaweedfs
def test_a_stray_is_given_to_the_trash_by_a_repair_alone_and_only_after_a_week(fresh, stores):
    server = quick(fresh, **{"promises.trash": f"{TRASH}s"})
    layer = os.urandom(LARGE)
    _, manifest = server.push_image("team/app", "v1", layers=[layer])
    kept = stores.objects(server)
    objects = place(server, stores)
    key = kept[0][:2] + "0" * 30  # where the folder is there already
    objects.add(key, os.urandom(LARGE))

    def pull():
        assert server.request("GET", "/v2/team/app/manifests/v1").body == manifest
        assert server.request("GET", f"/v2/team/app/blobs/{sha256(layer)}").body == layer

    def look(days, *flags):
        with objects.aged(days) if days else contextlib.nullcontext([]) as options:
            code, report = server.verify(*flags, *options)
        pull()
        assert code == 1, "a stray is something to look into, whatever becomes of it"
        return strays(report), report["repaired"]

    stays = ([("stray-object", key, "it stays")], 0)
    assert look(None, "--repair") == stays
    assert look(6.99, "--repair") == stays
    assert look(7.01) == stays, "nothing was asked for but to look"
    assert stores.objects(server) == sorted([*kept, key]) and status(server)["pendingObjects"] == 0
    began = time.monotonic()
    assert look(7.01, "--repair") == ([("stray-object-condemned", key, "it is in the trash now")], 1)
    wait_until(lambda: stores.objects(server) == kept, "deleted")
    assert time.monotonic() - began >= TRASH, "for so long it can be saved"
    wait_until(lambda: status(server)["pendingObjects"] == 0, "forgotten")
    pull()
    with objects.aged(8) as options:
        code, report = server.verify("--repair", *options)
    assert (code, report["findings"], report["repaired"]) == (0, [], 0)
    pull()


def test_what_an_upload_has_brought_is_no_stray_however_long_it_takes(fresh, stores):
    server = fresh()
    objects = place(server, stores)
    data = os.urandom(20 * MIB)
    location = path_of(server.request("POST", "/v2/team/app/blobs/uploads/").headers["location"])
    looks = []

    def repair():
        with objects.aged(8) as options:
            looks.append((len(stores.objects(server)), server.verify("--repair", *options)))

    def bytes_and_a_look(part):
        yield part[: 10 * MIB]
        if stores.name == "embedded":
            wait_until(lambda: stores.objects(server) != [], "begun")
        repair()
        yield part[10 * MIB :]

    cut = 19 * MIB
    assert server.request("PATCH", location, bytes_and_a_look(data[:cut]), chunked=True).status == 202
    repair()
    answer = server.request("PUT", f"{location}?digest={sha256(data)}", data[cut:])
    assert answer.status == 201, answer
    repair()
    assert [(code, report["findings"], report["repaired"]) for _, (code, report) in looks] == [(0, [], 0)] * 3
    # Elsewhere parts are no object until they are put together; the bytes behind the last whole part are one.
    assert [many for many, _ in looks] == ([1, 1, 1] if stores.name == "embedded" else [0, 1, 1])
    assert server.request("GET", f"/v2/team/app/blobs/{sha256(data)}").body == data


def test_a_stray_stays_where_other_objects_are_missing(fresh, stores):
    """As they are where the store is another registry's."""
    server = fresh()
    server.push_image("team/app", "v1", layers=[os.urandom(LARGE)])
    objects = place(server, stores)
    (known,) = stores.objects(server)
    key = known[:2] + "0" * 30
    objects.add(key, os.urandom(LARGE))
    objects.remove(known)
    with objects.aged(8) as options:
        _, report = server.verify("--repair", *options)
    assert [f["kind"] for f in report["findings"]] == ["blob-missing", "stray-object"] and report["repaired"] == 0
    assert "is this the right store?" in report["findings"][1]["detail"]
    assert stores.objects(server) == [key] and status(server)["pendingObjects"] == 0
