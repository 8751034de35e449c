#!/usr/bin/env python3
"""A fleet's database: PostgreSQL filled with a large registry's rows, the hot queries timed and explained on it, and
pushes measured through it end to end. Needs what `make bench` needs; starts a PostgreSQL of its own.

    fleet.py --manifests 1000000 --repositories 5000 --write
    fleet.py --empty --write    only pushes into empty databases, beside SQL alone
"""
import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests/System"))

import ceilings  # noqa: E402
from services import Postgres, free_ports  # noqa: E402

STRATA = os.environ.get("STRATA_BIN", str(ROOT / ".build/release/strata"))
PAGE = ROOT / "docs/benchmarks.md"

# Bytes of a manifest, as of an image with five layers and some annotations; half of it does not compress.
PAYLOAD = 2200
# What each manifest lists: five layers and a config of its own.
LAYERS = 5
# Layers that a repository's manifests choose from, and how many of those all repositories share.
LAYERS_OF_REPOSITORY, SHARED_LAYERS = 168, 40

# Secondary indexes and foreign keys are made after the rows: many times as fast.
DETACH = """
CREATE TABLE kept_definitions AS
    SELECT 1 AS step, format('CREATE INDEX %s', substring(pg_get_indexdef(i.indexrelid) FROM 'INDEX (.*)')) AS sql,
        format('DROP INDEX %s', i.indexrelid::regclass) AS undo
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND NOT i.indisunique
UNION ALL
    SELECT 2, format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)),
        format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
    FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema()::regnamespace;
DO $$ DECLARE d record; BEGIN FOR d IN SELECT * FROM kept_definitions LOOP EXECUTE d.undo; END LOOP; END $$;
"""
ATTACH = """
SET maintenance_work_mem = '512MB';
DO $$ DECLARE d record; BEGIN FOR d IN SELECT * FROM kept_definitions ORDER BY step LOOP EXECUTE d.sql; END LOOP; END $$;
DROP TABLE kept_definitions;
"""


def fill(manifests: int, repositories: int) -> list[str]:
    """The statements that make the rows. A digest is 1 and the SHA-256 of a name, as the program stores it."""
    each = manifests // repositories
    layer = f"CASE WHEN n < {SHARED_LAYERS} THEN 'shared ' || n ELSE 'layer ' || r || ' ' || n END"
    return [
        "INSERT INTO media_type (name) VALUES ('application/vnd.oci.image.manifest.v1+json') ON CONFLICT DO NOTHING",
        f"INSERT INTO repository (name, created_at) SELECT 'team' || r % 100 || '/app' || r, 0 FROM generate_series(1, {repositories}) r",
        # What exists: shared layers, each repository's own, and a config for each manifest.
        f"""INSERT INTO blob (digest, size, created_at) SELECT '\\x01'::bytea || sha256(name::bytea), 40000000, 0 FROM (
            SELECT 'shared ' || n AS name FROM generate_series(0, {SHARED_LAYERS - 1}) n
            UNION ALL SELECT 'layer ' || r || ' ' || n FROM generate_series(1, {repositories}) r,
                generate_series({SHARED_LAYERS}, {LAYERS_OF_REPOSITORY - 1}) n
            UNION ALL SELECT 'config ' || r || ' ' || m FROM generate_series(1, {repositories}) r, generate_series(1, {each}) m) x""",
        "INSERT INTO blob_copy (digest, skey) SELECT digest, substring(digest FROM 2 FOR 16) FROM blob",
        # What a repository holds. Its layers have the first ids, then come its configs: edges are counted out below.
        f"""INSERT INTO repo_blob (repo_id, digest, size, lease_until)
            SELECT r, '\\x01'::bytea || sha256(name::bytea), 40000000, 0 FROM generate_series(1, {repositories}) r, LATERAL (
                SELECT n, {layer} AS name FROM generate_series(0, {LAYERS_OF_REPOSITORY - 1}) n
                UNION ALL SELECT {LAYERS_OF_REPOSITORY} + m, 'config ' || r || ' ' || m FROM generate_series(1, {each}) m
            ) x ORDER BY r, n""",
        f"""INSERT INTO manifest (repo_id, digest, media_type_id, created_at, keep_until, payload)
            SELECT r, '\\x01'::bytea || sha256(('manifest ' || r || ' ' || m)::bytea),
                (SELECT min(id) FROM media_type), 0, 0, (
                    SELECT string_agg(sha256((r || ' ' || m || ' ' || i)::bytea), '') || repeat('x', {PAYLOAD // 2})::bytea
                    FROM generate_series(1, {PAYLOAD // 64}) i)
            FROM generate_series(1, {repositories}) r, generate_series(1, {each}) m ORDER BY r, m""",
        f"""INSERT INTO manifest_blob (manifest_id, link_id)
            SELECT (r - 1) * {each} + m, (r - 1) * {LAYERS_OF_REPOSITORY + each} + 1 + CASE
                WHEN n < {LAYERS} THEN (m * 7 + n * 31) % {LAYERS_OF_REPOSITORY} ELSE {LAYERS_OF_REPOSITORY} + m - 1 END
            FROM generate_series(1, {repositories}) r, generate_series(1, {each}) m, generate_series(0, {LAYERS}) n""",
        f"""INSERT INTO tag (repo_id, name, manifest_id, updated_at)
            SELECT r, 'v' || m, (r - 1) * {each} + m, 0
            FROM generate_series(1, {repositories}) r, generate_series(1, {each}, 3) m""",
    ]


def hot_queries(repositories: int) -> dict[str, str]:
    name = "(SELECT name FROM repository WHERE id = {r})"
    digest = "'\\x01'::bytea || sha256('{name}')"
    r = repositories // 2
    manifest, layer = digest.format(name=f"manifest {r} 1"), digest.format(name="shared 1")
    links = ",".join(digest.format(name=f"layer {r} {n}") for n in range(SHARED_LAYERS, SHARED_LAYERS + 6))
    name = f"'team{r % 100}/app{r}'"
    return {
        "a manifest by tag": f"""SELECT m.id, m.digest, y.name, m.payload, m.keep_until FROM repository r
            JOIN tag t ON t.repo_id = r.id JOIN manifest m ON m.id = t.manifest_id
            JOIN media_type y ON y.id = m.media_type_id WHERE r.name = {name} AND t.name = 'v1'""",
        "a manifest by digest": f"""SELECT m.id, m.digest, y.name, m.payload, m.keep_until FROM repository r
            JOIN manifest m ON m.repo_id = r.id JOIN media_type y ON y.id = m.media_type_id
            WHERE r.name = {name} AND m.digest = {manifest}""",
        "a blob of a repository": f"""SELECT l.id, l.size, c.skey, i.data, CASE WHEN l.lease_until > 1
                OR EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = l.id) THEN 1 ELSE 0 END
            FROM repository r JOIN repo_blob l ON l.repo_id = r.id LEFT JOIN blob_copy c ON c.digest = l.digest
            LEFT JOIN blob_inline i ON i.digest = l.digest WHERE r.name = {name} AND l.digest = {layer}""",
        "six links of a push": f"""SELECT id, digest, size FROM repo_blob WHERE repo_id = {r} AND digest IN ({links})
            ORDER BY digest FOR KEY SHARE""",
        "a mount of the most common layer": f"SELECT size FROM repo_blob WHERE digest = {layer} LIMIT 1 FOR KEY SHARE",
        "the manifests that list a layer": f"""SELECT m.digest FROM manifest_blob e JOIN manifest m ON m.id = e.manifest_id
            WHERE e.link_id = (SELECT id FROM repo_blob WHERE repo_id = {r} AND digest = {layer}) LIMIT 1""",
        "100 tags": f"SELECT name FROM tag WHERE repo_id = {r} AND name > '' ORDER BY name LIMIT 101",
        "100 repositories": "SELECT name FROM repository WHERE name > 'team5' ORDER BY name LIMIT 101",
        "100 referrers": f"""SELECT m.digest, y.name, a.name, m.payload FROM manifest m
            JOIN media_type y ON y.id = m.media_type_id LEFT JOIN media_type a ON a.id = m.artifact_type_id
            WHERE m.repo_id = {r} AND m.subject = {manifest} AND m.digest > '' ORDER BY m.digest LIMIT 100""",
    }


def timed(postgres, statement, database):
    begun = time.monotonic()
    result = postgres.sql(statement, database)
    return result, time.monotonic() - begun


def load(postgres, database, manifests, repositories):
    begun = time.monotonic()
    postgres.sql(DETACH, database)
    for statement in fill(manifests, repositories):
        _, seconds = timed(postgres, f"SET synchronous_commit = off; {statement}", database)
        print(f"  {' '.join(statement.split())[:60]}…: {seconds:.1f} s", flush=True)
    _, seconds = timed(postgres, ATTACH, database)
    print(f"  indexes and foreign keys: {seconds:.1f} s", flush=True)
    postgres.sql("VACUUM ANALYZE", database)
    postgres.sql("CHECKPOINT")  # or the first pushes would be measured beside it
    return time.monotonic() - begun


def sizes(postgres, database) -> list[list[str]]:
    text = postgres.sql(
        """SELECT relname, n, pg_table_size(oid), pg_indexes_size(oid) FROM (
            SELECT oid, relname, reltuples::bigint AS n FROM pg_class
            WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace) t
        WHERE n > 1000 ORDER BY pg_total_relation_size(oid) DESC""",
        database,
    )
    rows = []
    for line in text.splitlines():
        name, count, heap, indexes = line.split("|")
        n = int(count)
        rows.append([name, f"{n:,}", f"{int(heap) / n:.0f}", f"{int(indexes) / n:.0f}", f"{(int(heap) + int(indexes)) / 1e6:,.0f} MB"])
    return rows


def explain(postgres, database, repositories) -> list[list[str]]:
    rows = []
    for name, query in hot_queries(repositories).items():
        best = None
        for _ in range(5):  # the first ones find what is not in memory yet
            plan = json.loads(postgres.sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", database))[0]
            if best is None or plan["Execution Time"] < best["Execution Time"]:
                best = plan
        root, nodes = best["Plan"], []

        def walk(node):
            if "Scan" in node["Node Type"]:
                nodes.append(f"{node['Node Type']} {node.get('Index Name', node.get('Relation Name', ''))}")
            for child in node.get("Plans", []):
                walk(child)

        walk(root)
        buffers = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        rows.append([name, f"{best['Execution Time']:.3f}", str(buffers), ", ".join(dict.fromkeys(nodes))])
    return rows


class Registry:
    """A server with settings of its own, for as long as `with` lasts."""

    def __init__(self, settings, folder=None):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.owned = None if folder else tempfile.mkdtemp(prefix="strata-fleet-")
        self.folder = folder or self.owned
        options = [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]
        self.process = subprocess.Popen(
            [STRATA, "serve", "--data", self.folder, "--listen", f"127.0.0.1:{self.port}", *options], stdout=subprocess.DEVNULL
        )

    def __enter__(self):
        for _ in range(400):
            try:
                urllib.request.urlopen(self.url + "/v2/", timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit("strata did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        if self.owned:
            shutil.rmtree(self.owned, ignore_errors=True)

    def metric(self, name) -> float:
        text = urllib.request.urlopen(self.url + "/metrics").read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}(\{{| )", line))

    def bench(self, scenario, workers, *options):
        command = [STRATA, "bench", "--url", self.url, "--json", "--scenario", scenario, "--workers", str(workers)]
        done = subprocess.run(
            [*command, "--pid", str(self.process.pid), *map(str, options)], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{scenario}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)


def cpu_of(postgres) -> float:
    """CPU-seconds of a server's processes so far, those that have ended included."""
    (postmaster,) = postgres.processes
    ticks = 0
    for pid in [postmaster.pid, *postgres.children(postmaster)]:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # ended, and is in the postmaster's own sum soon
        ticks += sum(map(int, fields[11:15] if pid == postmaster.pid else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pushes(postgres, url, seconds) -> tuple[list[list[str]], dict[str, tuple[float, float]]]:
    """Rows of a table, and by what was pushed and the number of workers the rate and PostgreSQL's CPU each, in ms."""
    rows, rates = [], {}
    settings = {"metadata": "postgres", "postgres.url": url, "postgres.connections": 16, "log.level": "warning"}
    with Registry(settings) as registry:
        registry.bench("seed", 8, "--manifests", 1000)
        small = ("--size", 1024)
        for scenario, options, counts in (
            ("push-blob", small, (8, 50)), ("push-blob-at-once", small, (50, 200)), ("push-manifest", (), (8, 50))
        ):
            for workers in counts:
                names = ("strata_upload_batch_size_sum", "strata_upload_batch_size_count", "strata_sql_retries_total")
                before = [registry.metric(name) for name in names]
                database, load = cpu_of(postgres), resource.getrusage(resource.RUSAGE_CHILDREN)
                result = registry.bench(scenario, workers, "--seconds", seconds, *options)
                uploads, batches, retries = (registry.metric(name) - old for name, old in zip(names, before))
                operations = result["operationsPerSecond"] * seconds
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                load = after.ru_utime + after.ru_stime - load.ru_utime - load.ru_stime
                each = [1000 * spent / operations for spent in (cpu_of(postgres) - database, load)]
                rates[f"{scenario} {workers}"] = (result["operationsPerSecond"], each[0])
                rows.append([
                    f"{scenario}, {workers} workers", f"{result['operationsPerSecond']:,.0f}/s",
                    f"{result['latency']['p50']:.1f} / {result['latency']['p99']:.1f} ms",
                    f"{result['server']['cpuMillisecondsPerOperation']:.3f} / {each[0]:.3f} / {each[1]:.3f} ms",
                    f"{uploads / batches:.1f}" if scenario != "push-manifest" else "", f"{retries:.0f}",
                ])
                print("  " + " | ".join(rows[-1]), flush=True)
    return rows, rates


COMPARED = [
    ("manifest", "push-manifest 8"), ("manifest", "push-manifest 50"), ("uploads by 1", "push-blob 8"),
    ("uploads by 8", "push-blob 50"), ("uploads by 8", "push-blob-at-once 50"), ("uploads by 64", "push-blob 50"),
    ("uploads by 64", "push-blob-at-once 200"),
]
PUSH_HEAD = ["pushes", "rate", "p50 / p99", "CPU of Strata / PostgreSQL / load each", "uploads per transaction", "retries"]
MACHINE = f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores that PostgreSQL 15, Strata and the load share"


def alone_at(postgres, database, script, clients, seconds, each) -> tuple[float, float]:
    """Pushes a second by SQL alone, and PostgreSQL's CPU for one, in ms."""
    before = cpu_of(postgres)
    rate = each * ceilings.rate(postgres, database, script, clients, seconds)
    return rate, 1000 * (cpu_of(postgres) - before) / (rate * seconds)


def medians(found) -> list[float]:
    return [statistics.median(column) for column in zip(*found)]


def beside_ceilings(postgres, new_database, options) -> str:
    """Pushes into empty databases and, in turn with them, the same statements without a registry."""
    alone, through, rows, seconds = {}, {}, [], options.seconds
    for _ in range(options.rounds):
        url, database = new_database()
        for statement in fill(ceilings.REPOSITORIES * 20, ceilings.REPOSITORIES):
            postgres.sql(statement, database)
        postgres.sql("VACUUM ANALYZE", database)
        scripts = {"manifest": (ceilings.manifest_push(LAYERS_OF_REPOSITORY + 20), 1)}
        scripts |= {f"uploads by {n}": (ceilings.upload_commits(n), n) for n in (1, 8, 64)}
        for name, (script, each) in scripts.items():
            found = max(
                (alone_at(postgres, database, script, clients, seconds, each) for clients in (8, 16)),
                key=lambda found: found[0],
            )
            alone.setdefault(name, []).append(found)
            print(f"  {name}, SQL alone: {found[0]:,.0f}/s, {found[1]:.3f} ms of PostgreSQL", flush=True)
        rows, rates = pushes(postgres, new_database()[0], seconds)
        for name, found in rates.items():
            through.setdefault(name, []).append(found)
    compared = []
    for ceiling, name in COMPARED:
        (most, cost), (rate, spent) = medians(alone[ceiling]), medians(through[name])
        compared.append([
            ceiling, f"{most:,.0f}/s", f"{name} workers", f"{rate:,.0f}/s", f"{100 * rate / most:.0f} %",
            f"{cost:.3f} / {spent:.3f} ms · {100 * cost / spent:.0f} %",
        ])
    head = ["transactions of", "SQL alone", "pushes", "through Strata", "of that", "CPU of PostgreSQL each: alone / through Strata"]
    return "\n".join([
        f"{MACHINE}, medians of {options.rounds} rounds in turn, load at the end {os.getloadavg()[0]:.0f}.", "",
        table(head, compared), "",
        "Strata in the last of these rounds:", "", table(PUSH_HEAD, rows),
    ])


def in_a_full_database(postgres, new_database, options) -> str:
    """What a large registry's rows take, how the hot queries are run on them, and pushes among them."""
    url, database = new_database()
    print(f"loading {options.manifests:,} manifests", flush=True)
    seconds = load(postgres, database, options.manifests, options.repositories)
    rows, plans = sizes(postgres, database), explain(postgres, database, options.repositories)
    large, _ = pushes(postgres, url, options.seconds)
    return "\n".join([
        f"{MACHINE}; {options.manifests:,} manifests in {options.repositories:,} repositories, filled in {seconds:.0f} s.", "",
        table(["hot query", "ms", "buffers", "plan"], plans), "",
        table(["table", "rows", "heap B/row", "indexes B/row", "total"], rows), "",
        "Pushes into it:", "", table(PUSH_HEAD, large),
    ])


def table(head, rows) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def replace(section, text):
    """Puts a section of docs/benchmarks.md in the place of the old one."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    page = PAGE.read_text()
    PAGE.write_text(page[: page.index(begin) + len(begin)] + "\n" + text + "\n" + page[page.index(end):])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifests", type=int, default=1_000_000)
    parser.add_argument("--repositories", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of pushes")
    parser.add_argument("--empty", action="store_true", help="fill nothing")
    parser.add_argument("--rounds", type=int, default=3, help="of pushes in turn with SQL alone")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/benchmarks.md")
    options = parser.parse_args()
    settings = ("max_wal_size = 8GB", "checkpoint_timeout = 30min", "shared_buffers = 1GB", "work_mem = 64MB")
    with Postgres(settings) as postgres:
        def new_database():
            url = postgres.database()
            empty = tempfile.mkdtemp()
            subprocess.run(
                [STRATA, "migrate", "--data", empty, "--set", "metadata=postgres", "--set", f"postgres.url={url}"], check=True
            )
            shutil.rmtree(empty, ignore_errors=True)
            return url, url.split("dbname=")[1]

        small = beside_ceilings(postgres, new_database, options)
        full = "" if options.empty else in_a_full_database(postgres, new_database, options)
    print(small, full, sep="\n\n")
    if options.write:
        replace("pushes", small)
        if full:
            replace("fleet", full)


if __name__ == "__main__":
    main()
