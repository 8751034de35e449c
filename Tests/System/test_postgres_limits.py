"""What clients are told while PostgreSQL has no room or no time for them. Each limit, as the server keeps it, is in
Tests/MetadataTests/PostgresLimitTests.swift."""
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import wait_until

pytestmark = pytest.mark.shared
# Nothing but what a test asks for is at the database.
QUIET = {"postgres.connections": 1, "gc.enabled": "false", "retention.enabled": "false"}


def pull(server):
    return server.request("GET", "/v2/a/manifests/v1")


def assert_refused(answer):
    assert answer.status == 503 and answer.codes == ["UNAVAILABLE"] and answer.headers["retry-after"], answer


def test_what_comes_when_the_queue_is_full_is_refused_at_once(stores, fresh):
    server = fresh(**QUIET, **{"postgres.max-queue": 2})
    server.push_image("a", "v1")
    with ThreadPoolExecutor() as pool:
        with stores.session(server, "BEGIN; LOCK TABLE tag"):
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
    with stores.session(server, "BEGIN; LOCK TABLE tag"), ThreadPoolExecutor() as pool:
        for answer in [pool.submit(pull, server) for _ in range(2)]:
            assert_refused(answer.result())
        assert server.metric("strata_sql_refusals_total") >= 2
    assert pull(server).status == 200
