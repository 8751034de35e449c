#!/usr/bin/env python3
"""Measures Strata on an object store: Ceph's gateway on loopback, with SQLite for the metadata.

Large pushes go through Strata and, from the same client, straight into the bucket by a signed URL; downloads are redirected
or sent by Strata. With --write the tables in docs/benchmarks.md are replaced.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests/System"))
sys.path.insert(0, str(ROOT / "Benchmarks"))

from fleet import STRATA, Registry, replace, table  # noqa: E402
from services import RadosGateway  # noqa: E402

LAYER = 40 << 20


def processes(store) -> list[str]:
    return [str(process.pid) for process in store.processes]


def bench(url, scenario, workers, pids, *options):
    command = [STRATA, "bench", "--url", url, "--json", "--scenario", scenario, "--workers", str(workers)]
    command += [option for pid in pids for option in ("--pid", pid)]
    done = subprocess.run([*map(str, command), *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{scenario}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def row(name, result, unit="cpuSecondsPerGigabyte") -> list[str]:
    server = result["server"]
    rate = f"{result['megabytesPerSecond']:,.0f} MB/s" if unit == "cpuSecondsPerGigabyte" else f"{result['operationsPerSecond']:,.0f}/s"
    cost = f"{server[unit]:.2f} s/GB" if unit == "cpuSecondsPerGigabyte" else f"{server[unit]:.4f} ms"
    cells = [name, rate, cost, f"{server['peakResidentBytes'] / 1e6:,.0f} MB"]
    print("  " + " | ".join(cells), flush=True)
    return cells


def pushes(store, settings):
    rows = []
    for workers in (1, 8, 50):
        operations = ("--size", LAYER, "--operations", max(8, workers))
        with Registry(settings) as registry:
            pid = [str(registry.process.pid)]
            rows.append(row(f"push 40 MiB through Strata, {workers} workers: Strata", bench(
                registry.url, "push-blob", workers, pid, *operations)))
        bucket = store.bucket()
        url = store.client().generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=3600)
        path = url.removeprefix(store.endpoint)
        rows.append(row(f"PUT 40 MiB into the bare store, {workers} workers: all of Ceph", bench(
            store.endpoint, "put-path", workers, processes(store), *operations, "--path", path)))
    return rows


def downloads(settings, seconds):
    rows = []
    with Registry({**settings, "downloads.redirect": "false"}) as registry:
        pid = [str(registry.process.pid)]
        for workers in (8, 50):
            rows.append(row(f"pull 40 MiB through Strata, {workers} workers", bench(
                registry.url, "pull-blob", workers, pid, "--size", LAYER, "--seconds", seconds)))
    with Registry(settings) as registry:
        pid = [str(registry.process.pid)]
        path = redirected(registry)
        rows.append(row("GET answered with a redirect, 32 workers", bench(
            registry.url, "get-path", 32, pid, "--path", path, "--seconds", seconds), "cpuMillisecondsPerOperation"))
    return rows


def redirected(registry) -> str:
    """The path of a blob for which clients are sent to the store."""
    import hashlib
    import urllib.request

    data = bytes(2 << 20)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    push = urllib.request.Request(f"{registry.url}/v2/a/blobs/uploads/?digest={digest}", data=data, method="POST")
    push.add_header("Content-Type", "application/octet-stream")
    assert urllib.request.urlopen(push).status == 201
    return f"/v2/a/blobs/{digest}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of downloads")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/benchmarks.md")
    options = parser.parse_args()
    with RadosGateway() as store:
        settings = store.settings(store.bucket()) | {"log.level": "warning"}
        head = ["step", "rate", "CPU of the process named", "its peak memory so far"]
        text = f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores that Ceph, Strata and the load share.\n\n"
        text += table(head, pushes(store, settings) + downloads(settings, options.seconds))
    print(text)
    if options.write:
        replace("objects", text)


if __name__ == "__main__":
    main()
