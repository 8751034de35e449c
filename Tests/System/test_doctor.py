"""`strata doctor` names each thing that is wrong and what to do, and `strata serve` refuses to start in the same words."""
import json
import os
import subprocess

import pytest

from doctor import Doctor
from harness import BINARY
from test_server import certificate


@pytest.fixture
def doctor(stores):
    made = []

    def make(data="", migrated=True, **settings):
        own = {k.replace("__", ".").replace("_", "-"): v for k, v in settings.items()}
        made.append(Doctor(stores.settings() | own, data))
        return made[-1].migrate() if migrated else made[-1]

    yield make
    for one in made:
        one.server.__exit__()


def test_finds_nothing_wrong_with_healthy_stores_and_leaves_nothing_behind(doctor, stores):
    healthy = doctor()
    checks = healthy.examine()
    assert {check["state"] for check in checks.values()} == {"ok"}, checks
    assert {"configuration", "database", "database rights", "schema", "query plans", "blob store"} <= set(checks)
    assert stores.objects(healthy.server) == []
    text = healthy.run("doctor")
    assert text.returncode == 0
    assert [line.split()[0] for line in text.stdout.splitlines()] == ["ok"] * len(checks)
    with healthy.server:
        status, report = healthy.server.verify()
        assert (status, report["findings"]) == (0, [])


def test_leaves_a_schema_that_is_not_there_to_the_registry(doctor):
    new = doctor(migrated=False)
    checks = new.examine()
    assert not any(check["state"] == "problem" for check in checks.values())
    assert os.listdir(new.server.data) == []


@pytest.mark.shared
def test_looks_at_the_object_store_before_there_is_a_schema(doctor, stores, tmp_path):
    new = doctor(migrated=False)
    checks = new.examine()
    assert (checks["query plans"]["state"], checks["blob store"]["state"]) == ("skipped", "ok")
    folder = tmp_path / "data"
    mixed = doctor(migrated=False, data=str(folder), metadata="sqlite")
    checks = mixed.examine()
    assert (checks["database"]["state"], checks["blob store"]["state"]) == ("skipped", "ok")
    assert not folder.exists()
    for one in [new, mixed]:
        assert stores.objects(one.server) == []
    checks = doctor(migrated=False, s3__bucket="nowhere").examine()
    assert "NoSuchBucket" in checks["blob store"]["finding"]


def test_names_what_is_wrong_with_the_configuration(doctor):
    done = doctor(http__idle_seconds="soon", migrated=False).run("doctor", "--json")
    (check,) = json.loads(done.stdout)["checks"]
    assert (done.returncode, check["check"], check["state"]) == (1, "configuration", "problem")
    assert "http.idle-seconds" in check["finding"]


@pytest.mark.embedded
def test_names_the_files_that_cannot_be_used(doctor, tmp_path):
    settings = {"tls.certificate": tmp_path / "cert.pem", "tls.key": tmp_path / "key.pem"}
    done = doctor(**settings).run("doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == 1 and "tls.certificate" in checks[0]["finding"] and "tls.key" in checks[1]["finding"]
    assert checks[-1]["check"] == "blob store", "the rest is looked at, too"
    certificate(tmp_path, "one")
    (tmp_path / "old.pem").write_bytes((tmp_path / "key.pem").read_bytes())
    assert doctor(**settings).examine()["configuration"]["state"] == "ok"
    certificate(tmp_path, "two")
    (tmp_path / "key.pem").write_bytes((tmp_path / "old.pem").read_bytes())
    found = doctor(**settings).examine()["configuration"]
    assert found["state"] == "problem" and "does not belong to the certificate" in found["finding"]


@pytest.mark.shared
def test_database_that_cannot_be_reached(doctor):
    away = doctor(migrated=False, postgres__url="host=127.0.0.1 port=1 connect_timeout=1", postgres__patience_seconds=2)
    away.problem("database", "Connection refused", "postgres.url")
    assert away.examine()["blob store"]["state"] == "ok"


@pytest.mark.shared
def test_schema_of_a_newer_release(doctor, stores):
    newer = doctor()
    database = newer.server.settings["postgres.url"].split("dbname=")[1]
    stores.postgres.sql("INSERT INTO schema_migration VALUES (99, 'future', 0)", database)
    newer.problem("schema", "99")


@pytest.mark.shared
def test_user_who_may_not_make_tables(doctor, stores):
    stores.postgres.sql("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN")
    url = stores.postgres.database().replace("user=postgres", "user=weak")
    doctor(migrated=False, postgres__url=url).problem("database rights", "create tables", "GRANT")


@pytest.mark.shared
def test_user_who_may_not_use_the_tables_of_another(doctor, stores):
    owner = doctor()
    stores.postgres.sql("DROP ROLE IF EXISTS weaker; CREATE ROLE weaker LOGIN")
    url = owner.server.settings["postgres.url"].replace("user=postgres", "user=weaker")
    doctor(migrated=False, postgres__url=url).problem("database rights", "may not read and write", "GRANT")


@pytest.mark.shared
def test_commits_that_are_not_durable(doctor, stores):
    lossy = doctor()
    database = lossy.server.settings["postgres.url"].split("dbname=")[1]
    stores.postgres.sql(f"ALTER DATABASE {database} SET synchronous_commit = off")
    found = lossy.examine()["database durability"]
    assert found["state"] == "warning" and "synchronous_commit = off" in found["finding"]


@pytest.mark.shared
@pytest.mark.parametrize("address, is_exposed", [("192.0.2.1", True), ("127.0.0.1", False)])
def test_database_that_is_talked_to_over_a_network_in_the_clear(doctor, stores, address, is_exposed):
    # In a network of its own, which has the address and in it a way to the database's socket.
    networked = doctor()
    port, database = stores.postgres.port, networked.server.settings["postgres.url"].split("dbname=")[1]
    url = f"host={address} port={port} user=postgres dbname={database}"
    script = f"""
        ip link set lo up && ip address add 192.0.2.1/32 dev lo
        socat TCP-LISTEN:{port},bind={address},fork UNIX-CONNECT:{stores.postgres.folder}/.s.PGSQL.{port} &
        "$@"; status=$?; kill $!; exit $status"""
    settings = ["--set", f"postgres.url={url}", "--set", "blobs=files", "--set", "postgres.patience-seconds=5"]
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", BINARY, "doctor", "--json", *networked.server.options, *settings],
        capture_output=True, text=True, timeout=60,
    )
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["database"]["state"] == "ok", done
    assert ("database encryption" in checks) == is_exposed
    if is_exposed:
        assert checks["database encryption"]["state"] == "warning" and "sslmode" in checks["database encryption"]["advice"]


@pytest.mark.shared
def test_clock_that_differs_from_the_database(doctor):
    checks = doctor().examine("+60s")
    assert checks["database clock"]["state"] == "warning"
    assert "60 s behind" in checks["database clock"]["finding"]
    assert checks["blob store clock"]["state"] == "warning"
    assert checks["blob store"]["state"] == "ok"


@pytest.mark.shared
def test_index_that_was_dropped(doctor, stores):
    bare = doctor()
    stores.postgres.sql("DROP INDEX manifest_subject", bare.server.settings["postgres.url"].split("dbname=")[1])
    bare.problem("query plans", "referrers", "manifest (repo_id, subject, digest)")


@pytest.mark.shared
def test_bucket_that_is_not_there(doctor):
    doctor(s3__bucket="nowhere").problem("blob store", "NoSuchBucket", "s3.bucket")


@pytest.mark.shared
def test_secret_that_is_wrong(doctor):
    doctor(s3__secret_access_key="guessed").problem("blob store", "SignatureDoesNotMatch", "s3.secret-access-key")


@pytest.mark.shared
def test_key_that_nobody_knows(doctor):
    doctor(s3__access_key_id="nobody").problem("blob store", "InvalidAccessKeyId", "s3.access-key-id")


@pytest.mark.shared
def test_user_without_rights_on_the_bucket(doctor, stores):
    stores.s3.ceph(
        "radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid=weak", "--display-name=weak",
        "--access-key=weak", "--secret-key=weak-secret",
    )
    doctor(s3__access_key_id="weak", s3__secret_access_key="weak-secret").problem("blob store", "AccessDenied", "s3:PutObject")


@pytest.mark.shared
def test_object_store_that_cannot_be_reached(doctor):
    # It may come back, so nodes start without it.
    lonely = doctor(s3__endpoint="http://127.0.0.1:1")
    found = lonely.examine()["blob store"]
    assert found["state"] == "problem" and "s3.endpoint" in found["advice"]
    with lonely.server as server:
        assert server.request("GET", "/healthz").status == 200
        assert f"blob store: {found['finding']}" in server.log_text()


@pytest.mark.shared
def test_clock_with_which_the_store_refuses_signatures(doctor):
    broken = doctor()
    broken.problem("blob store", "RequestTimeTooSkewed", "NTP", clock="+20m")
    assert "1200 s behind" in broken.examine("+20m")["blob store clock"]["finding"]


@pytest.mark.embedded
def test_folder_that_cannot_be_written(doctor, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in [tmp_path / "file", tmp_path / "file/below"]:
        doctor(data=str(path), migrated=False).problem("data folder", str(path))


@pytest.mark.embedded
def test_folder_that_is_not_there_yet_is_not_made(doctor, tmp_path):
    checks = doctor(data=str(tmp_path / "new"), migrated=False).examine()
    assert (checks["data folder"]["state"], checks["stores"]["state"]) == ("ok", "skipped")
    assert not (tmp_path / "new").exists()


@pytest.mark.embedded
def test_index_that_was_dropped_from_sqlite(doctor):
    import sqlite3

    bare = doctor()
    with sqlite3.connect(os.path.join(bare.server.data, "metadata.sqlite")) as database:
        database.execute("DROP INDEX tag_manifest")
        database.execute("DROP INDEX gc_hint_due")
    bare.problem("query plans", "collector", "gc_hint (kind, due_at)")
