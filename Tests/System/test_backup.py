"""Backup beside a server that serves, restore, and the check of a restored pair of stores."""
import contextlib
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import BINARY, OCI_MANIFEST, Server, image_manifest, sha256


def strata(*arguments, **environment):
    return subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def backup(server, folder):
    """The report of a backup that must go well."""
    done = strata("backup", "--data", server.data, "--to", folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def restore(folder, data):
    done = strata("restore", "--from", folder, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def restored(folder, data):
    """A server on what was restored, which `verify` finds nothing wrong with."""
    restore(folder, data)
    server = Server(data=str(data), settings={"log.level": "warning"})
    assert server.verify()[1]["findings"] == []
    with server:
        yield server


def assert_pulls(server, repository, reference, body):
    """The whole image, each part with its right hash."""
    got = server.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": OCI_MANIFEST})
    assert got.status == 200 and got.body == body, (repository, reference, got.status)
    manifest = json.loads(body)
    for part in [manifest["config"], *manifest["layers"]]:
        blob = server.request("GET", f"/v2/{repository}/blobs/{part['digest']}")
        assert blob.status == 200 and sha256(blob.body) == part["digest"], (repository, part, blob.status)


def objects(folder) -> dict:
    """Name → (inode, time of change) of all files among the objects."""
    found = {}
    for path in pathlib.Path(folder, "objects").rglob("*"):
        if path.is_file():
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def count(folder) -> int:
    """Objects, while more are copied."""
    return sum(not name.endswith(".part") for _, _, names in os.walk(os.path.join(folder, "objects")) for name in names)


class Load:
    """Clients that push images and delete tags and manifests until told to stop."""

    def __init__(self, server, workers=3):
        self.server = server
        self.stop = threading.Event()
        self.kept = []  # (repository, tag, manifest) that were acknowledged and are never deleted
        self.acknowledged = 0
        self.failures = []
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(workers)]

    def run(self, worker):
        chance = random.Random(worker)
        repository = f"load/w{worker}"
        try:
            number = 0
            while not self.stop.is_set():
                number += 1
                layers = [chance.randbytes(chance.choice([300, 20_000, 150_000])) for _ in range(2)]
                digest, body = self.server.push_image(repository, f"v{number}", layers, config=chance.randbytes(40))
                self.acknowledged += 1
                at = f"/v2/{repository}/manifests"
                if number % 3 == 0:
                    assert self.server.request("DELETE", f"{at}/v{number}").status == 202
                elif number % 3 == 1:
                    assert self.server.request("DELETE", f"{at}/{digest}").status == 202
                    assert self.server.request("DELETE", f"/v2/{repository}/blobs/{sha256(layers[0])}").status == 202
                else:
                    self.kept.append((repository, f"v{number}", body))
        except BaseException as failure:
            self.failures.append(failure)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures


@pytest.mark.embedded
def test_a_backup_under_load_holds_every_image_acknowledged_before_it(fresh, tmp_path):
    server = fresh(log__level="warning")
    location = server.request("POST", "/v2/open/blobs/uploads/").headers["location"]
    half = os.urandom(200_000)
    assert server.request("PATCH", location, body=half[:100_000]).status == 202
    with Load(server) as load:
        while len(load.kept) < 30 and not load.failures:
            time.sleep(0.01)
        for round in range(3):  # the second and the third add to the first
            before, pushes = list(load.kept), load.acknowledged
            backup(server, tmp_path / "backup")
            during = load.acknowledged - pushes
            print(f"{len(before)} images before backup {round + 1}, {during} pushed during it")
            assert during > 0, "nothing was pushed during the backup"
    with restored(tmp_path / "backup", tmp_path / "data") as copy:
        for image in before:
            assert_pulls(copy, *image)
        # The upload was not finished: here it goes on, there it begins anew and does not pretend to have its bytes.
        assert copy.request("GET", location).headers["range"] == "0-0"
        assert copy.request("PUT", f"{location}?digest={sha256(half)}", body=half[100_000:]).status == 400
        copy.push_image("open", "v1", [half])
        assert copy.verify()[1]["findings"] == []
    assert server.request("PUT", f"{location}?digest={sha256(half)}", body=half[100_000:]).status == 201
    assert server.verify()[1]["findings"] == []


@pytest.mark.embedded
def test_a_further_backup_copies_only_what_is_new(fresh, tmp_path):
    server = fresh()
    for number in range(5):
        server.push_image("a", f"v{number}", [os.urandom(50_000)])
    first = backup(server, tmp_path / "backup")
    assert (first["objects"], first["copiedObjects"], first["copiedBytes"]) == (5, 5, 250_000)
    there = objects(tmp_path / "backup")
    again = backup(server, tmp_path / "backup")
    assert (again["objects"], again["copiedObjects"], again["removedObjects"]) == (5, 0, 0)
    assert objects(tmp_path / "backup") == there
    server.push_image("a", "v5", [os.urandom(60_000), os.urandom(10)])
    third = backup(server, tmp_path / "backup")
    assert (third["objects"], third["copiedObjects"], third["copiedBytes"]) == (6, 1, 60_000)
    assert there.items() <= objects(tmp_path / "backup").items()


@pytest.mark.embedded
def test_a_backup_drops_what_the_registry_no_longer_names(fresh, tmp_path):
    server = fresh()
    server.push_image("a", "v1", [os.urandom(50_000)])
    server.push_blob("a", os.urandom(70_000))
    backup(server, tmp_path / "backup")
    server.stop()
    with sqlite3.connect(os.path.join(server.data, "metadata.sqlite")) as db:  # what a collector does
        ((digest,),) = db.execute("SELECT digest FROM blob WHERE size = 70000")
        db.execute("INSERT INTO object_trash (skey, delete_after) SELECT skey, 0 FROM blob_copy WHERE digest = ?", [digest])
        for table in ["blob_copy", "repo_blob", "blob"]:
            db.execute(f"DELETE FROM {table} WHERE digest = ?", [digest])
    report = backup(server, tmp_path / "backup")
    assert (report["objects"], report["copiedObjects"], report["removedObjects"]) == (1, 0, 1)
    assert len(objects(tmp_path / "backup")) == 1 and len(objects(server.data)) == 2
    restore(tmp_path / "backup", tmp_path / "data")
    assert Server(data=str(tmp_path / "data")).verify()[1]["findings"] == []


@pytest.mark.embedded
def test_a_backup_that_is_killed_leaves_the_last_one_as_it_was(fresh, tmp_path):
    server = fresh(log__level="warning")
    folder = tmp_path / "backup"
    _, body = server.push_image("a", "old", [os.urandom(100_000)])
    backup(server, folder)
    shutil.copytree(folder, tmp_path / "first")
    _, new = server.push_image("a", "new", [os.urandom(400_000) for _ in range(120)])
    seen = []
    for least in [0, 1, 40, 80]:  # objects that are there when it is killed
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "first", folder)
        process = subprocess.Popen([BINARY, "backup", "--data", server.data, "--to", folder], stderr=subprocess.DEVNULL)
        while count(folder) < 1 + least and process.poll() is None:
            pass
        process.kill()
        assert process.wait() == -9, "it had ended already"
        seen.append(count(folder))
        with restored(folder, tmp_path / "once") as copy:
            assert_pulls(copy, "a", "old", body)
            assert copy.request("HEAD", "/v2/a/manifests/new").status == 404
        shutil.rmtree(tmp_path / "once")
    print(f"killed with {seen} of 121 objects there")
    report = backup(server, folder)
    assert report["objects"] == 121 and not [name for name in objects(folder) if name.endswith(".part")]
    with restored(folder, tmp_path / "data") as copy:
        assert_pulls(copy, "a", "old", body)
        assert_pulls(copy, "a", "new", new)


@pytest.mark.embedded
def test_a_data_folder_is_restored_only_where_nothing_is(fresh, tmp_path):
    server = fresh()
    server.push_image("a", "v1", [os.urandom(50_000)])
    backup(server, tmp_path / "backup")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("mine")
    refused = strata("restore", "--from", tmp_path / "backup", "--data", tmp_path / "data")
    assert refused.returncode != 0 and "is not empty" in refused.stderr
    assert os.listdir(tmp_path / "data") == ["file"]
    (tmp_path / "data/file").unlink()
    done = strata("restore", "--from", tmp_path / "backup", "--data", tmp_path / "data")
    assert done.returncode == 0 and f"strata verify --data {tmp_path / 'data'}" in done.stdout
    refused = strata("restore", "--from", tmp_path / "backup", "--data", tmp_path / "data")
    assert refused.returncode != 0 and "is not empty" in refused.stderr


@pytest.mark.embedded
def test_what_restore_says_to_start_applies_no_rules(fresh, tmp_path):
    """They would count from pulls that are as old as the backup."""
    backup(fresh(), tmp_path / "backup")
    done = strata("restore", "--from", tmp_path / "backup", "--data", tmp_path / "data")
    ((start, later),) = re.findall(r"strata serve (.*)\n(.*\n.*)", done.stdout)
    started = json.loads(strata("config", "print", "--json", *start.split()).stdout)
    assert (started["data"]["value"], started["retention.enabled"]["value"]) == (str(tmp_path / "data"), False)
    assert "strata retention preview" in later


@pytest.mark.embedded
def test_a_damaged_backup_is_not_restored(fresh, tmp_path):
    server = fresh()
    _, body = server.push_image("a", "v1", [os.urandom(50_000)])
    backup(server, tmp_path / "backup")
    (damaged,) = [path for path in (tmp_path / "backup/objects").rglob("*") if path.is_file()]
    os.truncate(damaged, 49_999)
    refused = strata("restore", "--from", tmp_path / "backup", "--data", tmp_path / "data")
    assert refused.returncode != 0 and "damaged" in refused.stderr and damaged.name in refused.stderr
    assert not (tmp_path / "data/metadata.sqlite").exists()
    assert backup(server, tmp_path / "backup")["copiedObjects"] == 1  # the next one mends it
    with restored(tmp_path / "backup", tmp_path / "mended") as copy:
        assert_pulls(copy, "a", "v1", body)


@pytest.mark.embedded
def test_an_object_that_the_registry_has_lost_fails_the_backup_and_keeps_the_last(fresh, tmp_path):
    server = fresh()
    _, body = server.push_image("a", "v1", [os.urandom(50_000)])
    backup(server, tmp_path / "backup")
    lost = server.push_blob("a", os.urandom(60_000))
    (path,) = [p for p in pathlib.Path(server.data, "objects").rglob("*") if p.is_file() and p.stat().st_size == 60_000]
    path.unlink()
    failed = strata("backup", "--data", server.data, "--to", tmp_path / "backup")
    assert failed.returncode != 0 and lost in failed.stderr and "promises.trash" in failed.stderr
    with restored(tmp_path / "backup", tmp_path / "data") as copy:
        assert_pulls(copy, "a", "v1", body)


@pytest.mark.embedded
def test_folders_are_not_mistaken_for_each_other(fresh, tmp_path):
    server = fresh()
    server.push_image("a", "v1", [os.urandom(50_000)])
    other = fresh()
    other.push_image("a", "v1", [os.urandom(50_000)])
    into_data = strata("backup", "--data", server.data, "--to", other.data)
    assert into_data.returncode != 0 and "data folder" in into_data.stderr
    assert other.verify()[1]["findings"] == []
    of_nothing = strata("backup", "--data", tmp_path / "nothing", "--to", tmp_path / "backup")
    assert of_nothing.returncode != 0 and "holds no registry" in of_nothing.stderr
    from_nothing = strata("restore", "--from", tmp_path / "backup", "--data", tmp_path / "data")
    assert from_nothing.returncode != 0 and "holds no backup" in from_nothing.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.embedded
def test_a_backup_of_one_registry_is_not_replaced_by_that_of_another(fresh, tmp_path):
    server, other = fresh(), fresh()
    _, body = server.push_image("a", "v1", [os.urandom(50_000)])
    other.push_image("a", "v1", [os.urandom(50_000)])
    backup(server, tmp_path / "backup")
    assert strata("migrate", "--data", tmp_path / "empty").returncode == 0
    before = objects(tmp_path / "backup")
    for wrong in [other.data, tmp_path / "empty"]:
        refused = strata("backup", "--data", wrong, "--to", tmp_path / "backup")
        assert refused.returncode == 1 and "another registry" in refused.stderr and "another folder" in refused.stderr
        assert objects(tmp_path / "backup") == before
    assert backup(server, tmp_path / "backup")["objects"] == 1
    with restored(tmp_path / "backup", tmp_path / "data") as copy:
        assert_pulls(copy, "a", "v1", body)
        # What was restored is the same registry.
        assert backup(copy, tmp_path / "backup")["objects"] == 1


@pytest.mark.embedded
def test_a_backup_of_a_registry_that_nobody_had_served_is_replaced_once(fresh, tmp_path):
    server, other = fresh(), fresh()
    assert strata("migrate", "--data", tmp_path / "new").returncode == 0
    assert strata("backup", "--data", tmp_path / "new", "--to", tmp_path / "backup").returncode == 0
    backup(server, tmp_path / "backup")
    refused = strata("backup", "--data", other.data, "--to", tmp_path / "backup")
    assert refused.returncode == 1 and "another registry" in refused.stderr


@pytest.mark.embedded
def test_a_backup_that_cannot_be_told_whose_it_is_stays(fresh, tmp_path):
    server = fresh()
    backup(server, tmp_path / "backup")
    (tmp_path / "backup/snapshot.sqlite").write_bytes(b"rotten" * 1000)
    refused = strata("backup", "--data", server.data, "--to", tmp_path / "backup")
    assert refused.returncode == 1 and "another folder" in refused.stderr
    assert (tmp_path / "backup/snapshot.sqlite").read_bytes() == b"rotten" * 1000


@pytest.mark.embedded
def test_one_backup_at_a_time(fresh, tmp_path):
    server = fresh()
    server.push_image("a", "v1", [os.urandom(50_000)])
    backup(server, tmp_path / "backup")
    with open(tmp_path / "backup/lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in [
            ["backup", "--data", server.data, "--to", tmp_path / "backup"],
            ["restore", "--from", tmp_path / "backup", "--data", tmp_path / "data"],
        ]:
            refused = strata(*command)
            assert refused.returncode != 0 and "wait until it has ended" in refused.stderr
    backup(server, tmp_path / "backup")


def test_backup_says_what_it_is_not_for(tmp_path):
    done = strata("backup", "--data", tmp_path, "--to", tmp_path / "b", STRATA_BLOBS="s3", STRATA_S3_BUCKET="x")
    assert done.returncode != 0 and "docs/backup.md" in done.stderr


@pytest.mark.parametrize("command", ["backup", "restore", "restore-check"])
def test_help_has_examples(command):
    assert "EXAMPLES" in strata(command, "--help").stdout


def restore_check(server):
    options = [option for key, value in server.settings.items() for option in ("--set", f"{key}={value}")]
    done = strata("restore-check", "--data", server.data, *options, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_restore_check_finds_what_is_missing_or_cut_off_and_who_needs_it(fresh, stores):
    server = fresh(log__level="warning")
    lost, cut = os.urandom(50_000), os.urandom(60_000)
    digest, _ = server.push_image("team/app", "v1", [lost, os.urandom(40_000), b"inline"])
    other, _ = server.push_image("team/tool", "v1", [lost], config=b'{"a": 1}')
    server.push_blob("team/app", cut)
    status, report = restore_check(server)
    assert (status, report["findings"], report["objects"], report["bytes"]) == (0, [], 3, 150_000)
    stores.replace_object(server, 50_000, None)
    stores.replace_object(server, 60_000, cut[:-1])
    status, report = restore_check(server)
    assert status == 1 and report["isComplete"]
    found = {finding["digest"]: finding for finding in report["findings"]}
    assert set(found) == {sha256(lost), sha256(cut)}
    assert found[sha256(lost)]["kind"] == "object-missing" and "found" not in found[sha256(lost)]
    assert found[sha256(lost)]["manifests"] == [f"team/app@{digest}", f"team/tool@{other}"]
    assert (found[sha256(cut)]["kind"], found[sha256(cut)]["found"]) == ("object-wrong-size", 59_999)
    assert found[sha256(cut)]["manifests"] == []


def test_restore_check_of_nothing_is_an_error(tmp_path):
    done = strata("restore-check", "--data", tmp_path)
    assert done.returncode != 0 and "holds no registry" in done.stderr
    assert os.listdir(tmp_path) == []
