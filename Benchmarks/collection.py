#!/usr/bin/env python3
"""What garbage collection costs on SQLite and disk: the latency of pushes and pulls with and without a backlog that is worked
off beside them, and the cost of deleting and of reclaiming a manifest as the registry fills, all of whose manifests share a
layer. With --write the tables in docs/benchmarks.md are replaced.
"""
import argparse
import hashlib
import http.client
import json
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

from fleet import STRATA, Registry, replace, table  # noqa: E402

CORPUS = ("--prefix", "bench", "--manifests", 1000)
STEPS = [
    ("push 1 KiB, 8 workers", "push-blob", 8, ("--size", 1024)),
    ("push a manifest with a tag, 8 workers", "push-manifest", 8, CORPUS),
    ("push 1 MiB, 8 workers", "push-blob", 8, ("--size", 1 << 20)),
    ("GET manifest by tag, 8 workers", "get-manifest-by-tag", 8, CORPUS),
    ("pull 1 MiB, 8 workers", "pull-blob", 8, ("--size", 1 << 20)),
]
# Everything is due at once, as it is in a backlog.
SHORT = {
    "promises.lease": "2s", "promises.window": "1s", "promises.blob-delay": "1s", "promises.trash": "3s",
    "downloads.url-lifetime": "1s", "downloads.longest": "1s", "log.level": "warning",
}


def digest(text: str) -> bytes:
    """As the program stores it: 1 for SHA-256, then the hash."""
    return b"\x01" + hashlib.sha256(text.encode()).digest()


class Folder:
    """A data folder that is there as long as `with` lasts."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="strata-collection-")
        subprocess.run([STRATA, "migrate", "--data", self.path], check=True, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def sql(self):
        (file,) = pathlib.Path(self.path).glob("*.sqlite")
        database = sqlite3.connect(file)
        database.execute("PRAGMA synchronous = OFF")
        return database

    def serve(self, settings):
        return Registry(settings, self.path)

    def one(self, statement):
        with self.sql() as database:
            return database.execute(statement).fetchone()[0]


def backlog(folder, count):
    """Layers of 1 MiB that a repository held and nothing lists; their files are not there, only their rows."""
    with folder.sql() as database:
        (repository,) = database.execute(
            "INSERT INTO repository (name, created_at) VALUES ('backlog', 0) RETURNING id"
        ).fetchone()
        (first,) = database.execute("SELECT coalesce(max(id), 0) + 1 FROM repo_blob").fetchone()
        for start in range(0, count, 50_000):
            numbers = range(start, min(start + 50_000, count))
            digests = [digest(f"backlog {number}") for number in numbers]
            database.executemany("INSERT INTO blob VALUES (?, 1048576, 0)", [(d,) for d in digests])
            database.executemany("INSERT INTO blob_copy VALUES (?, 0, ?)", [(d, d[1:17]) for d in digests])
            database.executemany(
                "INSERT INTO repo_blob (id, repo_id, digest, size, lease_until) VALUES (?, ?, ?, 1048576, 0)",
                [(first + number, repository, d) for number, d in zip(numbers, digests)],
            )
            database.executemany(
                "INSERT INTO gc_hint (kind, due_at, ref) VALUES (2, 0, ?)", [(first + number,) for number in numbers]
            )


def undisturbed(count, rounds, seconds):
    results = {}
    with Folder() as folder:
        with folder.serve({**SHORT, "promises.lease": "1h", "gc.enabled": "false"}) as server:
            server.bench("seed", 8, *CORPUS)
        backlog(folder, count)
        for round in range(rounds):
            for collects in ("false", "true"):
                with folder.serve({**SHORT, "promises.lease": "1h", "gc.enabled": collects}) as server:
                    for title, scenario, workers, options in STEPS:
                        result = server.bench(scenario, workers, *options, "--seconds", seconds)
                        results.setdefault(title, {}).setdefault(collects, []).append(result)
                        print(round + 1, title, f"gc {collects}: p99 {result['latency']['p99']:.2f} ms", flush=True)
        left = folder.one("SELECT count(*) FROM blob WHERE size = 1048576 AND created_at = 0")
    if left == 0:
        raise SystemExit("the backlog was worked off before the end; use a larger one")
    rows = []
    for title, runs in results.items():
        def middle(key, part="latency"):
            values = {c: statistics.median(r[part][key] if part else r[key] for r in runs[c]) for c in runs}
            return values["false"], values["true"]
        (p99, p99_with), (rate, rate_with) = middle("p99"), middle("operationsPerSecond", None)
        rows.append([title, f"{p99:.2f} ms", f"{p99_with:.2f} ms", f"{p99_with / p99:.2f} ×", f"{rate:,.0f}/s", f"{rate_with:,.0f}/s"])
    head = ["step", "p99 without", "p99 while collecting", "ratio", "rate without", "rate while collecting"]
    return [f"{count:,} blobs of backlog, of which {left:,} were left at the end.", "", table(head, rows)]


def fill(folder, manifests):
    """Manifests of one repository with a configuration each and one layer that all of them list."""
    layer, size = digest("layer"), 40 << 20
    text = [f"sha256:{d[1:].hex()}" for d in (layer,)][0]
    with folder.sql() as database:
        database.execute("INSERT INTO repository (id, name, created_at) VALUES (1, 'full', 0)")
        database.execute("INSERT INTO media_type (id, name) VALUES (1, 'application/vnd.oci.image.manifest.v1+json')")
        database.execute("INSERT INTO blob VALUES (?, ?, 0)", (layer, size))
        database.execute("INSERT INTO blob_copy VALUES (?, 0, ?)", (layer, layer[1:17]))
        database.execute("INSERT INTO repo_blob VALUES (1, 1, ?, ?, 0)", (layer, size))
        for start in range(0, manifests, 20_000):
            numbers = range(start, min(start + 20_000, manifests))
            configs = [(number + 2, b'{"number":%d}' % number) for number in numbers]
            digests = {id: b"\x01" + hashlib.sha256(data).digest() for id, data in configs}
            database.executemany("INSERT INTO blob VALUES (?, ?, 0)", [(digests[i], len(c)) for i, c in configs])
            database.executemany("INSERT INTO blob_inline VALUES (?, ?)", [(digests[i], c) for i, c in configs])
            database.executemany(
                "INSERT INTO repo_blob VALUES (?, 1, ?, ?, 0)", [(i, digests[i], len(c)) for i, c in configs]
            )
            for id, config in configs:
                payload = json.dumps({
                    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config),
                               "digest": f"sha256:{digests[id][1:].hex()}"},
                    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": size, "digest": text}],
                }).encode()
                name = b"\x01" + hashlib.sha256(payload).digest()
                database.execute(
                    "INSERT INTO manifest (id, repo_id, digest, media_type_id, created_at, keep_until, payload) "
                    "VALUES (?, 1, ?, 1, 0, 0, ?)", (id, name, payload),
                )
                database.execute(
                    "INSERT INTO tag (repo_id, name, manifest_id, updated_at) VALUES (1, ?, ?, 0)", (f"t{id}", id)
                )
            edges = [(id, link) for id, _ in configs for link in (1, id)]
            database.executemany("INSERT INTO manifest_blob VALUES (?, ?)", edges)


def growth(sizes, deletions):
    rows = []
    for size in sizes:
        with Folder() as folder:
            print(f"filling {size:,} manifests", flush=True)
            fill(folder, size)
            with folder.sql() as database:
                names = [row[0] for row in database.execute(
                    "SELECT digest FROM manifest WHERE id % ? = 0 LIMIT ?", (max(1, size // deletions), deletions)
                )]
            with folder.serve({**SHORT, "gc.enabled": "false"}) as server:
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                start = time.monotonic()
                for name in names:
                    connection.request("DELETE", f"/v2/full/manifests/sha256:{name[1:].hex()}")
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 202:
                        raise SystemExit(f"DELETE answered {answer.status}")
                deleted = (time.monotonic() - start) / len(names) * 1000
            options = [option for key, value in SHORT.items() for option in ("--set", f"{key}={value}")]
            spent = 0.0
            # Links first; a second later the blobs that they let go of.
            for _ in range(3):
                time.sleep(1.5)
                start = time.monotonic()
                subprocess.run(
                    [STRATA, "gc", "run", "--data", folder.path, *options], check=True, stdout=subprocess.DEVNULL
                )
                spent += time.monotonic() - start
            start = time.monotonic()
            subprocess.run([STRATA, "gc", "run", "--data", folder.path, *options], check=True, stdout=subprocess.DEVNULL)
            spent -= 3 * (time.monotonic() - start)  # of a run that finds nothing: starting the program
            left = folder.one("SELECT count(*) FROM blob")
            if left != 1 + size - len(names):
                raise SystemExit(f"{left} blobs are left")
            rows.append([f"{size:,}", f"{deleted:.2f} ms", f"{spent / len(names) * 1000:.2f} ms"])
            print(" | ".join(rows[-1]), flush=True)
    return [table(["manifests that list the layer", "DELETE of a manifest", "reclaiming what it let go of"], rows)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=1_000_000, help="blobs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each step")
    parser.add_argument("--growth", default="10000,100000,1000000", help="numbers of manifests")
    parser.add_argument("--deletions", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    lines = [f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {os.cpu_count()} cores that Strata and the load share."]
    lines += ["", *undisturbed(options.backlog, options.rounds, options.seconds), ""]
    lines += growth([int(size) for size in options.growth.split(",")], options.deletions)
    text = "\n".join(lines)
    print(text)
    if options.write:
        replace("collection", text)


if __name__ == "__main__":
    main()
