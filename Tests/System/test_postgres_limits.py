"""What clients are told while PostgreSQL has no room or no time for them. Each limit, as the server keeps it, is in
Tests/MetadataTests/PostgresLimitTests.swift."""
import contextlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import wait_until

pytestmark = pytest.mark.shared
QUIET = {"postgres.connections": 1, "gc.enabled": "false", "retention.enabled": "false"}


@contextlib.contextmanager
def locked(stores, server, table):
    """Nobody else reads the table meanwhile."""
    command = ["psql", "-X", "-q", "-d", server.settings["postgres.url"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as session:
        session.stdin.write(f"BEGIN; LOCK TABLE {table};\n")
        session.stdin.flush()
        held = f"SELECT granted FROM pg_locks WHERE relation = '{table}'::regclass AND mode = 'AccessExclusiveLock'"
        wait_until(lambda: stores.sql(server, held) == ["t"], "the lock")
        yield
        session.stdin.close()


def pull(server):
    return server.request("GET", "/v2/a/manifests/v1")


def assert_refused(answer):
    assert answer.status == 503 and answer.codes == ["UNAVAILABLE"] and answer.headers["retry-after"], answer


def test_what_comes_when_the_queue_is_full_is_refused_at_once(stores, fresh):
    server = fresh(**QUIET, **{"postgres.max-queue": 2})
    server.push_image("a", "v1")
    with ThreadPoolExecutor() as pool:
        with locked(stores, server, "tag"):
            waiting = [pool.submit(pull, server) for _ in range(2)]
            wait_until(lambda: server.metric("strata_sql_load") == 2, "two that wait")
            assert_refused(pull(server))
            assert server.metric("strata_sql_refusals_total") >= 1
            assert not any(answer.done() for answer in waiting)
        assert [answer.result().status for answer in waiting] == [200, 200]
    assert pull(server).status == 200


def test_who_waits_for_too_long_is_refused_and_served_later(stores, fresh):
    """One has the only connection and waits for a lock, the other one waits for the connection."""
    server = fresh(**QUIET, **{"postgres.patience-seconds": 1})
    server.push_image("a", "v1")
    with locked(stores, server, "tag"), ThreadPoolExecutor() as pool:
        for answer in [pool.submit(pull, server) for _ in range(2)]:
            assert_refused(answer.result())
        assert server.metric("strata_sql_refusals_total") >= 2
    assert pull(server).status == 200
