"""Everything behind the registry dies under load, and the nodes with it: nothing that was acknowledged is lost, nothing
dangles, and clients are never told more than to try again.

STRATA_FAILOVERS says how often each thing is killed (1 by default), STRATA_SEED with which seed.
"""
import os
import random
import threading
import time

import pytest

from cluster import RETRYABLE, HAProxy, cluster
from harness import sha256
from services import Postgres, RadosGateway, wait_until
from test_crash import SEED, WORKERS, Ledger, assert_clean, check, work

ROUNDS = int(os.environ.get("STRATA_FAILOVERS", "1"))
# After everything is back, a push succeeds within so many seconds.
RECOVERY = 10


class Unknown(OSError):
    """An answer after which a client does not know what became of its request, and tries again."""


class Patient:
    """What the workers take for a server: they stop at the first error of this kind, and are started again."""

    def __init__(self, client):
        self.client = client
        self.told = {}  # status → how often
        self.lock = threading.Lock()

    def request(self, *arguments, **options):
        answer = self.client.request(*arguments, **options)
        if answer.status in RETRYABLE or answer.status == 409 and answer.codes == ["UPLOAD_BUSY"]:
            with self.lock:
                self.told[answer.status] = self.told.get(answer.status, 0) + 1
            time.sleep(0.05)
            raise Unknown(answer.status)
        return answer


class Mixed(Ledger):
    """Now and then a blob of several parts."""

    def content(self):
        return self.random.randbytes(17 << 20) if self.random.random() < 0.03 else super().content()


def load(patient, ledgers, stop, failures):
    def repeat(one):
        others = [other for other in ledgers if other is not one]
        while not stop.is_set() and not failures:
            work(patient, one, others, stop, failures)

    threads = [threading.Thread(target=repeat, args=(one,)) for one in ledgers]
    for thread in threads:
        thread.start()
    return threads


def under_load(nodes, balanced, events):
    """Runs events, each of which ends with everything being up, beside workers; then checks all that these were told."""
    print(f"STRATA_SEED={SEED}")
    patient, ledgers = Patient(balanced), [Mixed(n) for n in range(WORKERS)]
    for event in events:
        stop, failures = threading.Event(), []
        threads = load(patient, ledgers, stop, failures)
        try:
            time.sleep(0.5)
            event()
            began = time.monotonic()
            wait_until("a push", lambda: push(patient), timeout=RECOVERY)
            print(f"{event.__name__}: a push succeeds {time.monotonic() - began:.1f} s later")
            time.sleep(0.3)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures
        for number, ledger in enumerate(ledgers):
            check(nodes[number % len(nodes)], ledger, everything=False)
    print(f"clients were told {patient.told}")
    for ledger in ledgers:
        check(nodes[0], ledger, everything=True)
    assert_clean(nodes[0])
    assert set(patient.told) <= RETRYABLE | {409}
    assert sum(len(ledger.blobs) + len(ledger.manifests) for ledger in ledgers) > 10 * len(events)


def push(patient):
    data = os.urandom(20_000)
    return patient.request("POST", f"/v2/probe/blobs/uploads/?digest={sha256(data)}", body=data, timeout=10).status == 201


def settings(url, objects):
    store = objects.settings(objects.bucket())
    return {"metadata": "postgres", "postgres.url": url, "postgres.patience-seconds": 3, "downloads.redirect": "false"} | store


@pytest.fixture(scope="module")
def objects():
    with RadosGateway() as store:
        yield store


def test_stores_and_nodes_die_and_come_back(objects):
    chance = random.Random(SEED)
    with (
        Postgres(["fsync = off"]) as postgres,
        cluster(3, settings(postgres.database(), objects)) as nodes,
        HAProxy(nodes) as proxy,
    ):

        def database_dies():
            """For longer than the nodes are patient."""
            postgres.kill()
            time.sleep(3 + chance.random())
            postgres.launch()

        def database_and_node_die():
            postgres.kill()
            node = chance.choice(nodes)
            node.kill()
            postgres.launch()
            node.start()

        def database_restarts_itself():
            """One of its processes dies: it ends all others and starts over."""
            number = postgres.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
            os.kill(int(number), 9)
            time.sleep(0.2)
            wait_until("PostgreSQL", postgres.is_ready)

        def store_dies():
            objects.kill()
            node = chance.choice(nodes)
            node.kill()
            node.start()
            objects.launch()

        events = [database_dies, database_restarts_itself, database_and_node_die, store_dies] * ROUNDS
        under_load(nodes, proxy.client, events)


def test_a_failover_to_a_synchronous_replica_loses_nothing(objects):
    with Postgres(["fsync = off"]) as primary, primary.replica() as replica:
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        wait_until("the replica", lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync")
        name = primary.database().split("dbname=")[1]
        url = (
            f"postgres://postgres@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/{name}?connect_timeout=2"
        )
        with cluster(3, settings(url, objects)) as nodes, HAProxy(nodes) as proxy:

            def nothing():
                pass

            def failover():
                primary.kill()
                nodes[2].kill()
                replica.promote()
                nodes[2].start()

            under_load(nodes, proxy.client, [failover, nothing])


def test_a_synchronous_replica_that_is_away_costs_pushes_alone(objects):
    """PostgreSQL lets a commit wait for it without end; a node gives the connection up, and says that it does not know."""
    with Postgres(["fsync = off"]) as primary, primary.replica() as replica:
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        wait_until("the replica", lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync")
        with cluster(1, settings(primary.database(), objects)) as (node,):
            node.push_image("team/app", "v1")
            replica.kill()
            told = []

            def push(number):
                content = f"pushed {number}".encode()
                path = f"/v2/team/app/blobs/uploads/?digest={sha256(content)}"
                told.append(node.request("POST", path, body=content).status)

            threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            assert node.request("GET", "/v2/team/app/manifests/v1").status == 200
            for thread in threads:
                thread.join()
            assert len(told) == 4 and set(told) <= RETRYABLE
            assert node.request("GET", "/v2/team/app/manifests/v1").status == 200
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
            primary.sql("SELECT pg_reload_conf()")
            for number in range(4):
                push(number)
            assert told[4:] == [201] * 4
            assert node.verify()[0] == 0


def test_a_failover_that_loses_the_last_moments_makes_deleters_pause(objects):
    """What was given to the trash in them is there again, and for ten minutes nothing is deleted at all."""
    quick = {"promises.lease": "3s", "promises.window": "2s", "promises.blob-delay": "1s", "promises.trash": "1h",
             "downloads.url-lifetime": "1s", "downloads.longest": "1s", "gc.interval": "1s", "gc.share-percent": "100"}
    layer, other = os.urandom(400_000), os.urandom(400_000)
    with Postgres(["fsync = off"]) as primary, primary.replica() as replica:
        name = primary.database().split("dbname=")[1]
        url = f"postgres://postgres@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/{name}?connect_timeout=2"
        with cluster(1, settings(url, objects) | quick) as (node,):
            bucket = node.settings["s3.bucket"]

            def is_trashed(server, count):
                return server.sql("SELECT count(*) FROM object_trash WHERE digest IS NOT NULL", name) == f"{count}"

            image, _ = node.push_image("team/app", "v1", layers=[layer])
            node.push_blob("team/app", other)
            wait_until("what nothing lists in the trash", lambda: is_trashed(primary, 1))
            wait_until("a deleter that knows the server", lambda: primary.sql("SELECT since FROM server_epoch", name) == "0")
            wait_until("the replica", lambda: is_up_to_date(primary))
            replica.kill()
            assert node.request("DELETE", f"/v2/team/app/manifests/{image}").status == 202
            wait_until("the image's layer in the trash", lambda: is_trashed(primary, 2))
            primary.kill()
            replica.launch()
            replica.promote()
            wait_until("the node", lambda: node.request("GET", "/readyz").status == 200)
            assert node.request("GET", f"/v2/team/app/blobs/{sha256(layer)}").body == layer
            replica.sql("UPDATE object_trash SET delete_after = 0 WHERE digest IS NOT NULL", name)
            # Its collector goes on with everything else.
            third = node.push_blob("team/app", os.urandom(400_000))
            wait_until("collected", lambda: node.request("GET", f"/v2/team/app/blobs/{third}").status == 404)
            assert replica.sql("SELECT count(*) FROM object_trash WHERE claimed_until IS NOT NULL", name) == "0"
            assert len(objects.objects(bucket)) == 3
            paused = replica.sql("UPDATE server_epoch SET since = since - 600000 WHERE since > 0 RETURNING epoch", name)
            assert paused == "00000002"
            wait_until("the object deleted that was due", lambda: len(objects.objects(bucket)) == 2)
            assert node.request("GET", f"/v2/team/app/blobs/{sha256(layer)}").body == layer
            assert node.verify()[0] == 0


def is_up_to_date(primary):
    return primary.sql("SELECT pg_current_wal_flush_lsn() <= replay_lsn FROM pg_stat_replication") == "t"


def test_a_standby_that_is_named_first_is_passed_over(objects):
    """As a primary is that comes back after a failover."""
    with Postgres(["fsync = off"]) as primary, primary.replica() as replica:
        name = primary.database().split("dbname=")[1]
        url = f"postgres://postgres@127.0.0.1:{replica.port},127.0.0.1:{primary.port}/{name}"
        with cluster(1, settings(url, objects)) as (node,):
            node.push_image("team/app", "v1")
