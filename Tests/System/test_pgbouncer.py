"""PostgreSQL behind Debian's PgBouncer. Session mode needs nothing; docs/operations.md says what transaction mode needs."""
import concurrent.futures

import pytest

from harness import OCI_MANIFEST, Server, sha256
from services import PgBouncer, Postgres

# In session mode, each connection to the pooler needs one to the server: the registry's, and those of `strata verify`.
# In transaction mode, fewer connections than the registry has to the pooler, so that they are really shared.
TRANSACTION = {"postgres.prepare-statements": "false", "postgres.set-limits": "false"}


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as running:
        yield running


@pytest.fixture(params=[("session", 16, {}), ("transaction", 3, TRANSACTION)], ids=["session", "transaction"])
def registry(request, postgres):
    mode, connections, settings = request.param
    with PgBouncer(postgres, mode, connections) as pooler:
        url = pooler.behind(postgres.database())
        own = {"metadata": "postgres", "postgres.url": url, "postgres.connections": 8}
        with Server(settings=own | settings) as server:
            yield server


def test_pushes_and_pulls_side_by_side(registry):
    def work(number):
        repository = f"team/r{number % 3}"
        layers = (b"shared", b"large" * 10_000, f"layer {number}".encode())
        digest, body = registry.push_image(repository, f"v{number}", layers)
        for reference in (digest, f"v{number}"):
            pulled = registry.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": OCI_MANIFEST})
            assert (pulled.status, pulled.body) == (200, body)
        # A session over several requests, on whatever connections they get.
        opened = registry.request("POST", f"/v2/{repository}/blobs/uploads/")
        patched = registry.request("PATCH", opened.headers["location"], body=b"piece by ")
        assert patched.status == 202, patched
        location = patched.headers["location"]
        separator = "&" if "?" in location else "?"
        digest_of_both = sha256(f"piece by piece {number}".encode())
        put = registry.request("PUT", f"{location}{separator}digest={digest_of_both}", body=f"piece {number}".encode())
        assert put.status == 201, put
        return repository, digest

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pushed = list(pool.map(work, range(48)))
    tags = [registry.request("GET", f"/v2/team/r{number}/tags/list").json()["tags"] for number in range(3)]
    assert sorted(tag for names in tags for tag in names) == sorted(f"v{number}" for number in range(48))
    for repository, digest in pushed[:24]:
        assert registry.request("DELETE", f"/v2/{repository}/manifests/{digest}").status == 202
    status, report = registry.verify()
    assert (status, report["findings"], report["manifests"]) == (0, [], 24)


def test_goes_on_when_the_database_has_ended_all_connections(registry, postgres):
    registry.push_image("team/app", "v1")
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    registry.push_image("team/app", "v2")
    assert registry.request("GET", "/v2/team/app/tags/list").json()["tags"] == ["v1", "v2"]
    assert registry.verify()[0] == 0


def test_builds_an_index_beside_others_when_it_starts(registry, postgres):
    """One that a registry of an older release lacks."""
    registry.push_image("team/app", "v1")
    assert registry.stop() == 0
    database = registry.settings["postgres.url"].split("dbname=")[1]
    postgres.sql("DROP INDEX tag_announced; DELETE FROM schema_migration WHERE version >= 4", database)
    registry.start()
    built = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'tag_announced'::regclass"
    assert postgres.sql(built, database) == "t"
    assert "an index is built" in registry.log_text()
    assert registry.request("GET", "/v2/team/app/tags/list").json()["tags"] == ["v1"]
