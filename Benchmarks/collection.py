#!/usr/bin/env python3
"""What garbage collection costs, on SQLite and on PostgreSQL with blobs on disk, and on PostgreSQL and Ceph: the latency of
pushes and pulls with and without a backlog that is worked off, or rules that are applied, beside them, and the cost of
deleting, of checking and of reclaiming a manifest as the registry fills, all of whose manifests share a layer. With --write
the tables in docs/benchmarks.md are replaced. Starts servers of its own.

    collection.py --engines sqlite --parts undisturbed
"""
import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import itertools
import math
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests/System"))
sys.path.insert(0, str(ROOT / "Benchmarks"))

from fleet import ATTACH, DETACH, STRATA, Registry, replace, table  # noqa: E402
from services import Postgres, RadosGateway  # noqa: E402

CORPUS = ("--prefix", "bench", "--manifests", 1000)
STEPS = [
    ("push 1 KiB", "push-blob", ("--size", 1024)),
    ("push a manifest with a tag", "push-manifest", CORPUS),
    ("push 1 MiB", "push-blob", ("--size", 1 << 20)),
    ("GET manifest by tag", "get-manifest-by-tag", CORPUS),
    ("pull 1 MiB", "pull-blob", ("--size", 1 << 20)),
]
WORKERS = 8
# Everything is due at once, as it is in a backlog.
SHORT = {
    "promises.lease": "2s", "promises.window": "1s", "promises.blob-delay": "1s", "promises.trash": "3s",
    "downloads.url-lifetime": "1s", "downloads.longest": "1s", "log.level": "warning",
}
MACHINE = f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {os.cpu_count()} cores that load, Strata and database share."


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Store:
    """Stores of a registry, there as long as `with` lasts; of a backlog they hold REAL objects at most. Statements are in
    words that both engines know, and may call `digest` and `skey` of a text, which are what the program stores, and `bytes`.
    """

    REAL = math.inf

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="strata-collection-")
        self.settings = {}

    def __enter__(self):
        self.strata("migrate")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def strata(self, *command, **settings):
        options = [option for key, value in {**self.settings, **settings}.items() for option in ("--set", f"{key}={value}")]
        subprocess.run([STRATA, *command, "--data", self.path, *options], check=True, stdout=subprocess.DEVNULL)

    def serve(self, **settings):
        return Registry({**self.settings, **SHORT, **settings}, self.path)

    def make_objects(self, keys):
        """Files that have a size and no content."""
        for key in keys:
            file = os.open(f"{self.path}/objects/{key[:2]}/{key}", os.O_CREAT | os.O_WRONLY, 0o640)
            os.ftruncate(file, 1 << 20)
            os.close(file)
        os.sync()  # or the first steps would be measured beside it


class Sqlite(Store):
    def sql(self):
        (file,) = pathlib.Path(self.path).glob("*.sqlite")
        database = sqlite3.connect(file)
        database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")
        database.create_function("digest", 1, lambda text: b"\x01" + sha256(text), deterministic=True)
        database.create_function("skey", 1, lambda text: sha256(text)[:16], deterministic=True)
        database.create_function("bytes", 1, str.encode, deterministic=True)
        return contextlib.closing(database)

    def run(self, *statements):
        with self.sql() as database:
            for statement in statements:
                database.execute(statement)
            database.commit()

    fill = run

    def one(self, query):
        with self.sql() as database:
            return database.execute(query).fetchone()[0]


class PostgreSQL(Store):
    FUNCTIONS = (
        r"CREATE FUNCTION digest(text) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT '\x01'::bytea || sha256($1::bytea) $$",
        "CREATE FUNCTION skey(text) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT substring(sha256($1::bytea) FOR 16) $$",
        "CREATE FUNCTION bytes(text) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT $1::bytea $$",
    )

    def __init__(self, server):
        super().__init__()
        self.server = server
        url = server.database()
        self.settings = {"metadata": "postgres", "postgres.url": url}
        self.database = url.split("dbname=")[1]
        self.run(*self.FUNCTIONS)

    def __exit__(self, *_):
        super().__exit__()
        self.server.sql(f"DROP DATABASE {self.database}")

    def run(self, *statements):
        for statement in statements:
            self.server.sql(statement, self.database)

    def fill(self, *statements):
        self.run(DETACH, *statements, ATTACH, "VACUUM ANALYZE", "CHECKPOINT")

    def one(self, query):
        return int(self.server.sql(query, self.database))


class Fleet(PostgreSQL):
    """With objects in Ceph, from which Strata passes them on."""

    REAL = 20_000

    def __init__(self, server, ceph):
        super().__init__(server)
        self.ceph, self.bucket = ceph, ceph.bucket()
        self.settings |= ceph.settings(self.bucket) | {"downloads.redirect": "false"}

    def make_objects(self, keys):
        """Small ones, and only for those that are collected first: Ceph would take an hour for a million. A deletion that
        finds none costs less, so no more may be reclaimed than there are.
        """
        client = self.ceph.client()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            put = lambda key: client.put_object(Bucket=self.bucket, Key=f"{key[:2]}/{key}", Body=bytes(4096))  # noqa: E731
            list(pool.map(put, itertools.islice(keys, self.REAL)))


def numbers(count):
    return f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"


class Backlog:
    """Layers of 1 MiB that a repository held and nothing lists. They are due now: a collector that is hours behind works more."""

    KINDS = ("links", "blobs", "objects")
    WHAT = "links / blobs / objects reclaimed each second"
    SETTINGS = ("gc.enabled",)

    def __init__(self, store, count):
        self.store, self.count = store, count

    def fill(self):
        now, all = int(time.time() * 1000), numbers(self.count)
        self.store.fill(
            "INSERT INTO repository (name, created_at) VALUES ('backlog', 0)",
            f"{all} INSERT INTO blob (digest, size, created_at) SELECT digest('backlog ' || i), 1048576, 0 FROM n",
            f"{all} INSERT INTO blob_copy (digest, skey) SELECT digest('backlog ' || i), skey('backlog ' || i) FROM n",
            f"""{all} INSERT INTO repo_blob (repo_id, digest, size, lease_until)
                SELECT (SELECT id FROM repository WHERE name = 'backlog'), digest('backlog ' || i), 1048576, 0 FROM n""",
            f"""INSERT INTO gc_hint (kind, due_at, ref) SELECT 2, {now}, l.id FROM repo_blob l
                JOIN repository r ON r.id = l.repo_id WHERE r.name = 'backlog' ORDER BY l.id""",
        )
        self.store.make_objects(sha256(f"backlog {number}")[:16].hex() for number in range(1, self.count + 1))

    def begin(self):
        """Before each server that works it off."""

    def counts(self, server):
        return [server.metric(rf'strata_gc_collected_total\{{kind="{kind}"\}}') for kind in self.KINDS]

    def summary(self):
        left = self.store.one(
            "SELECT count(*) FROM repo_blob l JOIN repository r ON r.id = l.repo_id WHERE r.name = 'backlog'"
        )
        return f"{self.count:,} blobs of backlog; {left:,} links were left at the end."


class Rules(Backlog):
    """Tags of a hundred repositories, all but the last of which a rule deletes; what they named is collected."""

    KINDS = ("manifests", "blobs")
    WHAT = "tags deleted / manifests / blobs reclaimed each second"
    SETTINGS = ("gc.enabled", "retention.enabled")
    REPOSITORIES = 100

    def fill(self):
        all = numbers(self.count)
        repository = f"JOIN repository r ON r.name = 'backlog/' || (1 + i % {self.REPOSITORIES})"
        manifest = "JOIN manifest m ON m.repo_id = r.id AND m.digest = digest('manifest of rules ' || i)"
        link = "JOIN repo_blob l ON l.repo_id = r.id AND l.digest = digest('rules ' || i)"
        self.store.fill(
            f"{numbers(self.REPOSITORIES)} INSERT INTO repository (name, created_at) SELECT 'backlog/' || i, 0 FROM n",
            f"{all} INSERT INTO blob (digest, size, created_at) SELECT digest('rules ' || i), 20, 0 FROM n",
            f"{all} INSERT INTO blob_inline (digest, data) SELECT digest('rules ' || i), bytes('12345678901234567890') FROM n",
            f"""{all} INSERT INTO repo_blob (repo_id, digest, size, lease_until)
                SELECT r.id, digest('rules ' || i), 20, 0 FROM n {repository}""",
            f"""{all} INSERT INTO manifest (repo_id, digest, media_type_id, created_at, keep_until, payload)
                SELECT r.id, digest('manifest of rules ' || i), (SELECT min(id) FROM media_type), 0, 0, bytes('{"x" * 500}')
                FROM n {repository}""",
            f"{all} INSERT INTO manifest_blob (manifest_id, link_id) SELECT m.id, l.id FROM n {repository} {manifest} {link}",
            f"""{all} INSERT INTO tag (repo_id, name, manifest_id, updated_at)
                SELECT r.id, 't' || i, m.id, i FROM n {repository} {manifest}""",
        )
        policy = '{"version": 1, "rules": [{"keep": "last", "count": 1, "by": "pushed"}, {"delete": "rest"}]}'
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(policy)
            file.flush()
            self.store.strata("retention", "set", "namespace/backlog", file.name)

    def begin(self):
        # A server that was stopped in the middle of a round has left its claim.
        self.store.run("UPDATE job SET claimed_until = NULL, due_at = 0")

    def counts(self, server):
        return [self.count - self.tags(), *super().counts(server)]

    def tags(self):
        return self.store.one("SELECT count(*) FROM tag t JOIN repository r ON r.id = t.repo_id WHERE r.name LIKE 'backlog/%'")

    def summary(self):
        return f"{self.count:,} tags in {self.REPOSITORIES} repositories; {self.tags():,} were left at the end."


class Reclaimed:
    """What a server does of some work each second while `with` lasts."""

    def __init__(self, server, work):
        self.server, self.work = server, work

    def __enter__(self):
        self.before, self.begun = self.work.counts(self.server), time.monotonic()
        return self

    def __exit__(self, *_):
        seconds = time.monotonic() - self.begun
        self.numbers = [after - before for before, after in zip(self.before, self.work.counts(self.server))]
        self.rates = [number / seconds for number in self.numbers]


def undisturbed(store, work, rounds, seconds):
    results, deleted = {}, 0
    settings = {"promises.lease": "1h", "retention.enabled": "false", "retention.interval": "1s"}
    with store.serve(**settings | {"gc.enabled": "false"}) as server:
        server.bench("seed", WORKERS, *CORPUS)
    begun = time.monotonic()
    work.fill()
    print(f"a backlog made in {time.monotonic() - begun:.0f} s", flush=True)
    for round in range(rounds):
        for title, scenario, options in STEPS:
            # One right after the other, and each of them first in turn: what else the machine does hits both.
            for collects in ("false", "true") if round % 2 == 0 else ("true", "false"):
                work.begin()
                chosen = settings | {key: collects for key in work.SETTINGS}
                with store.serve(**chosen) as server, Reclaimed(server, work) as reclaimed:
                    result = server.bench(scenario, WORKERS, *options, "--seconds", seconds)
                if collects == "true" and reclaimed.rates[0] == 0:
                    raise SystemExit(f"{title}: nothing was reclaimed meanwhile; use a larger backlog")
                deleted += reclaimed.numbers[work.KINDS.index("objects")] if "objects" in work.KINDS else 0
                if deleted > store.REAL:
                    raise SystemExit(f"{deleted} objects were deleted, of which some were none; use fewer rounds")
                measured = [result["latency"]["p99"], result["operationsPerSecond"], *reclaimed.rates]
                results.setdefault(title, {}).setdefault(collects, []).append(measured)
                rates = ", ".join(f"{rate:.0f}" for rate in reclaimed.rates)
                print(f"{round + 1} {title}, gc {collects}: p99 {measured[0]:.2f} ms, reclaimed {rates}", flush=True)
    rows = []
    for title, runs in results.items():
        off, on = ([statistics.median(values) for values in zip(*runs[collects])] for collects in ("false", "true"))
        rows.append([
            title, f"{off[0]:.2f} ms", f"{on[0]:.2f} ms", f"{on[0] / off[0]:.2f} ×", f"{off[1]:,.0f}/s", f"{on[1]:,.0f}/s",
            " / ".join(f"{rate:,.0f}" for rate in on[2:]),
        ])
    head = [f"{WORKERS} workers", "p99 without", "p99 with it", "ratio", "rate without", "rate with it", work.WHAT]
    return f"{work.summary()} Medians of {rounds} rounds.\n\n{table(head, rows)}"


def fill(store, manifests):
    """Manifests of one repository with a configuration each and one layer, the first of its links, that all of them list."""
    all = numbers(manifests)
    store.fill(
        "INSERT INTO repository (name, created_at) VALUES ('full', 0)",
        "INSERT INTO media_type (name) VALUES ('application/vnd.oci.image.manifest.v1+json')",
        "INSERT INTO blob (digest, size, created_at) VALUES (digest('layer'), 40000000, 0)",
        "INSERT INTO blob_copy (digest, skey) VALUES (digest('layer'), skey('layer'))",
        "INSERT INTO repo_blob (repo_id, digest, size, lease_until) VALUES (1, digest('layer'), 40000000, 0)",
        f"{all} INSERT INTO blob (digest, size, created_at) SELECT digest('config ' || i), 20, 0 FROM n",
        f"{all} INSERT INTO blob_inline (digest, data) SELECT digest('config ' || i), bytes('12345678901234567890') FROM n",
        f"""{all} INSERT INTO repo_blob (repo_id, digest, size, lease_until)
            SELECT 1, digest('config ' || i), 20, 0 FROM n ORDER BY i""",
        f"""{all} INSERT INTO manifest (repo_id, digest, media_type_id, created_at, keep_until, payload)
            SELECT 1, digest('manifest ' || i), 1, 0, 0, bytes('{"x" * 500}') FROM n ORDER BY i""",
        f"{all} INSERT INTO manifest_blob (manifest_id, link_id) SELECT i, 1 FROM n UNION ALL SELECT i, i + 1 FROM n",
        f"{all} INSERT INTO tag (repo_id, name, manifest_id, updated_at) SELECT 1, 't' || i, i, 0 FROM n",
    )
    os.sync()


def delete(server, ids):
    """Milliseconds that the deletion of each takes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    start = time.monotonic()
    for id in ids:
        connection.request("DELETE", f"/v2/full/manifests/sha256:{sha256(f'manifest {id}').hex()}")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 202:
            raise SystemExit(f"DELETE answered {answer.status}")
    return (time.monotonic() - start) / len(ids) * 1000


def collect(store, times=1):
    """Milliseconds of as many runs of the collector, a second and a half apart: what one releases is due for the next."""
    spent = 0.0
    for _ in range(times):
        time.sleep(1.5)
        start = time.monotonic()
        store.strata("gc", "run", **SHORT)
        spent += (time.monotonic() - start) * 1000
    return spent


def measured(store, size, count):
    """Milliseconds of a deletion, of a check and of reclaiming a manifest."""
    fill(store, size)
    stride = size // count
    some = [[i * stride + first for i in range(count)] for first in (1, 2)]
    with store.serve(**{"gc.enabled": "false"}) as server:
        # Others first: a registry that runs has the upper pages of its indexes in memory.
        delete(server, [i * stride + 3 for i in range(count // 4)])
        deletion = delete(server, some[0])
    collect(store, 5)
    nothing = statistics.median(collect(store) for _ in range(3))  # a run that finds nothing: starting the program
    # As many steps as there are manifests to reclaim: a step looks at a row once, however many of its hints name it.
    store.run(f"{numbers(count * 20)} INSERT INTO gc_hint (kind, due_at, ref) SELECT 2, 0, 1 FROM n")
    check = collect(store) - nothing
    condemned = f"id % {stride} = {2 % stride} AND id <= {some[1][-1]}"
    store.run(
        f"DELETE FROM tag WHERE manifest_id IN (SELECT id FROM manifest WHERE {condemned})",
        f"INSERT INTO gc_hint (kind, due_at, ref, reason, since) SELECT 4, 0, id, 'a rule', 1 FROM manifest WHERE {condemned}",
    )
    reclaiming = collect(store, 3) - 3 * nothing
    left = store.one("SELECT count(*) FROM blob")
    if left != 1 + size - 2 * count - count // 4:
        raise SystemExit(f"{left} blobs are left")
    return deletion, check / count, reclaiming / count


def growth(make_store, sizes, count):
    rows = []
    for size in sizes:
        with make_store() as store:
            rows.append([f"{size:,}", *(f"{milliseconds:.2f} ms" for milliseconds in measured(store, size, count))])
        print(" | ".join(rows[-1]), flush=True)
    head = ["manifests that list the layer", "DELETE of a manifest", "check of the layer",
            "reclaiming a manifest, its link and its blob"]
    return table(head, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="sqlite,postgres,fleet")
    parser.add_argument("--parts", default="undisturbed,growth", help="retention, too, which is not in the documentation")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="blobs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each step")
    parser.add_argument("--growth", default="10000,100000,1000000", help="numbers of manifests")
    parser.add_argument("--deletions", type=int, default=2000)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        makers = {"sqlite": Sqlite}
        if {"postgres", "fleet"} & set(options.engines.split(",")):
            settings = ("max_wal_size = 8GB", "checkpoint_timeout = 30min", "shared_buffers = 1GB", "work_mem = 64MB")
            server = stack.enter_context(Postgres(settings))
            makers["postgres"] = lambda: PostgreSQL(server)
        if "fleet" in options.engines:
            ceph = stack.enter_context(RadosGateway())
            makers["fleet"] = lambda: Fleet(server, ceph)
        for engine in options.engines.split(","):
            # What grows is in the database: where the objects are makes no difference.
            for part in ["undisturbed"] if engine == "fleet" else options.parts.split(","):
                if part != "growth":
                    with makers[engine]() as store:
                        work = (Backlog if part == "undisturbed" else Rules)(store, options.backlog)
                        text = undisturbed(store, work, options.rounds, options.seconds)
                else:
                    text = growth(makers[engine], [int(size) for size in options.growth.split(",")], options.deletions)
                text = f"{MACHINE}\n\n{text}"
                print(text)
                if options.write:
                    replace(f"collection {part} {engine}", text)


if __name__ == "__main__":
    main()
