"""What nothing refers to goes, bytes and all, while the registry serves; what is referred to, or was promised, stays."""
import json
import os
import subprocess
import time

import pytest

from harness import BINARY, BUILD_CACHE_CONFIG, OCI_INDEX, build_cache, sha256, wait_until

pytestmark = pytest.mark.seaweedfs

# Windows of seconds, so that a test sees what takes hours. The trash must outlast a download through the store's URLs.
QUICK = {
    "promises.lease": "3s", "promises.window": "2s", "promises.blob-delay": "1s", "promises.trash": "3s",
    "downloads.url-lifetime": "1s", "downloads.longest": "1s", "gc.interval": "1s", "gc.share-percent": "100",
}
LARGE = 400_000


def quick(fresh, **settings):
    return fresh(**{key.replace(".", "__").replace("-", "_"): value for key, value in {**QUICK, **settings}.items()})


def strata(server, *arguments):
    done = subprocess.run([BINARY, *arguments, *server.options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_deleted_image_gives_its_bytes_back_and_shared_layers_stay(fresh, stores):
    server = quick(fresh)
    base, own = os.urandom(LARGE), os.urandom(LARGE)
    kept, _ = server.push_image("team/kept", "v1", layers=[base], config=b'{"a":1}')
    gone, _ = server.push_image("team/gone", "v1", layers=[base, own], config=b'{"a":2}')
    assert len(stores.objects(server)) == 2
    assert server.request("DELETE", f"/v2/team/gone/manifests/{gone}").status == 202
    wait_until(lambda: len(stores.objects(server)) == 1, "reclaimed")
    assert server.request("GET", f"/v2/team/kept/manifests/{kept}").status == 200
    assert server.request("GET", f"/v2/team/kept/blobs/{sha256(base)}").body == base
    assert server.request("GET", f"/v2/team/gone/blobs/{sha256(own)}").status == 404
    wait_until(lambda: server.metric("strata_gc_reclaimed_bytes_total") >= LARGE, "counted")
    status, report = server.verify()
    assert status == 0, report


def test_a_build_cache_keeps_its_layers_and_gives_them_back(fresh, stores):
    server = quick(fresh, **{"manifests.sparse-indexes": "true"})
    layers = [os.urandom(LARGE), os.urandom(LARGE)]
    for blob in [*layers, BUILD_CACHE_CONFIG]:
        server.push_blob("team/cache", blob)
    pushed = server.push_manifest("team/cache", "main", build_cache(layers), OCI_INDEX)
    assert pushed.status == 201
    server.push_blob("team/other", os.urandom(LARGE))
    wait_until(lambda: len(stores.objects(server)) <= 2, "collected")
    assert [server.request("GET", f"/v2/team/cache/blobs/{sha256(layer)}").body for layer in layers] == layers
    assert server.verify()[0] == 0
    digest = pushed.headers["docker-content-digest"]
    assert server.request("DELETE", f"/v2/team/cache/manifests/{digest}").status == 202
    wait_until(lambda: stores.objects(server) == [], "reclaimed")
    assert server.verify()[0] == 0


def test_a_blob_that_is_never_listed_goes_after_its_lease(fresh, stores):
    server = quick(fresh)
    blob = server.push_blob("team/app", os.urandom(LARGE))
    assert server.request("HEAD", f"/v2/team/app/blobs/{blob}").status == 200
    wait_until(lambda: stores.objects(server) == [], "reclaimed")
    assert server.request("HEAD", f"/v2/team/app/blobs/{blob}").status == 404
    # It can be pushed again at once.
    server.push_image("team/app", "v1", layers=[os.urandom(LARGE)])


def test_an_abandoned_upload_gives_its_bytes_back(fresh, stores):
    server = quick(fresh, **{"uploads.session": "4s"})
    opened = server.request("POST", "/v2/team/app/blobs/uploads/").headers["location"]
    assert server.request("PATCH", opened, os.urandom(6_000_000)).status == 202
    assert stores.objects(server) != [] or stores.name != "embedded"  # elsewhere it is no object until it is whole
    wait_until(lambda: stores.sql(server, "SELECT count(*) FROM upload_session") == ["0"], "collected")
    assert server.request("GET", opened).status == 404
    # Where a late copy of the request could still make the object again, it is deleted once more when the claim has ended.
    stores.sql(server, "UPDATE object_trash SET claimed_until = 1 WHERE claimed_until IS NOT NULL")
    wait_until(lambda: stores.objects(server) == [] and status(server)["pendingObjects"] == 0, "reclaimed")


def status(server):
    return json.loads(strata(server, "gc", "status", "--json"))


def test_a_head_keeps_its_promise(fresh):
    server = quick(fresh, **{"promises.lease": "6s", "promises.window": "5s"})
    blob = server.push_blob("team/app", os.urandom(LARGE))
    for _ in range(4):
        time.sleep(3)
        assert server.request("HEAD", f"/v2/team/app/blobs/{blob}").status == 200, "each answer is good for 5 s"


def test_the_collector_can_be_run_by_hand_where_no_server_collects(fresh, stores):
    server = quick(fresh, **{"gc.enabled": "false"})
    server.push_blob("team/app", os.urandom(LARGE))
    time.sleep(4)
    assert len(stores.objects(server)) == 1
    for _ in range(5):
        out = strata(server, "gc", "run")
        time.sleep(2.5)
    assert stores.objects(server) == [], out


@pytest.mark.embedded
def test_the_row_of_an_object_goes_after_its_file_for_good(fresh, stores):
    """Or, after a power failure, the file may be there again, and no row knows of it."""
    server = quick(fresh, **{"gc.enabled": "false", "durability": "full"})
    server.push_blob("team/app", os.urandom(LARGE))
    (name,) = stores.objects(server)
    for _ in range(5):
        time.sleep(2.5)
        trace = ["strace", "-f", "-y", "-e", "trace=unlink,unlinkat,fsync,fdatasync", "--signal=none"]
        done = subprocess.run([*trace, BINARY, "gc", "run", *server.options], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if stores.objects(server) == []:
            break
    calls = done.stderr.splitlines()
    (removed,) = [at for at, call in enumerate(calls) if "unlink" in call and name in call]
    synced = [call for call in calls[removed:] if "fsync(" in call and call.split(">")[0].endswith(f"/objects/{name[:2]}")]
    assert synced, calls[removed:]


def test_explain_says_why_and_since_when_not(fresh, tmp_path):
    server = quick(fresh)
    layer = os.urandom(LARGE)
    manifest, _ = server.push_image("team/app", "v1", layers=[layer])
    text = strata(server, "gc", "explain", sha256(layer))
    assert "team/app" in text and manifest in text and "v1" in text
    assert "the tag v1 names it" in strata(server, "gc", "explain", manifest)
    assert server.request("DELETE", f"/v2/team/app/manifests/{manifest}").status == 202
    assert "deleted by request" in strata(server, "gc", "explain", manifest)
    wait_until(lambda: "bytes are deleted at" in strata(server, "gc", "explain", sha256(layer)), "in the trash", 20)
    loose, _ = server.push_image("team/app", "v2", layers=[b"loose"])
    assert server.request("DELETE", "/v2/team/app/manifests/v2").status == 202
    assert "no rule deletes it: it stays" in strata(server, "gc", "explain", loose)
    policy = tmp_path / "policy.json"
    policy.write_text('{"version": 1, "rules": [{"name": "stray", "delete": "untagged", "days": 1}]}')
    strata(server, "retention", "set", "registry", str(policy))
    text = strata(server, "gc", "explain", loose)
    assert "by registry: stray" in text and "at the latest" in text and "nothing has named it since" in text
    server.push_blob("team/app", b"listed by nothing")
    assert "No manifest lists it: its bytes" in strata(server, "gc", "explain", sha256(b"listed by nothing"))
    bad = subprocess.run([BINARY, "gc", "explain", "sha256:12", *server.options], capture_output=True, text=True)
    assert bad.returncode != 0 and "digest" in bad.stderr


def test_collecting_goes_on_after_the_server_is_killed(fresh, stores):
    server = quick(fresh)
    for _ in range(30):
        server.push_blob("team/app", os.urandom(20_000))
    for _ in range(6):
        time.sleep(1)
        server.kill()
        server.start()
    wait_until(lambda: stores.objects(server) == [], "reclaimed")
    assert server.verify()[0] == 0


def test_readiness_does_not_depend_on_the_collector(fresh, stores):
    """Its rounds fail, one after the other, at a database that refuses to drop a hint."""
    server = quick(fresh)
    layer = os.urandom(LARGE)
    kept, _ = server.push_image("team/app", "v1", layers=[layer])
    wait_until(lambda: "strata_gc_lag_seconds" in {name.split("{")[0] for name in server.metrics()}, "measured")
    assert server.metric("strata_gc_failures_total") == 0
    refuse_to_drop_hints(stores, server)
    server.push_blob("team/app", os.urandom(LARGE))

    def failures_while_it_serves():
        assert server.request("GET", "/readyz").status == 200
        assert server.request("GET", f"/v2/team/app/manifests/{kept}").status == 200
        assert server.request("GET", f"/v2/team/app/blobs/{sha256(layer)}").body == layer
        server.push_image("team/app", "v2", layers=[os.urandom(100)])
        return server.metric("strata_gc_failures_total")

    wait_until(lambda: failures_while_it_serves() >= 3, "failing")
    so_far = failures_while_it_serves()
    wait_until(lambda: failures_while_it_serves() > so_far, "failing still")
    assert "a round of the collector failed" in server.log_text()
    assert len(stores.objects(server)) == 2, "nothing is reclaimed meanwhile"
    stores.sql(server, f"DROP TRIGGER refusal {'ON gc_hint' if stores.name != 'embedded' else ''}")
    stores.sql(server, "UPDATE gc_hint SET due_at = 1")  # what failed is taken again after a minute or two
    wait_until(lambda: len(stores.objects(server)) == 1, "reclaimed")
    assert server.request("GET", "/readyz").status == 200 and server.verify()[0] == 0


def refuse_to_drop_hints(stores, server):
    if stores.name == "embedded":
        body = "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    else:
        raised = "BEGIN RAISE EXCEPTION ''refused''; END"
        stores.sql(server, f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS '{raised}'")
        body = "FOR EACH ROW EXECUTE FUNCTION refuse()"
    stores.sql(server, f"CREATE TRIGGER refusal BEFORE DELETE ON gc_hint {body}")


def test_a_collector_that_is_hours_behind_works_more(fresh, stores):
    server = quick(fresh, **{"gc.share-percent": "10"})
    server.stop()
    due = int((time.time() - 5.5 * 3600) * 1000)
    stores.sql(server, f"""INSERT INTO gc_hint (kind, due_at, ref)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT 2, {due}, 1000000 + i FROM n""")
    server.start()
    wait_until(lambda: server.metric("strata_gc_share_percent") == 40, "it works four times as much")
