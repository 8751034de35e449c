#!/usr/bin/env python3
"""Measures Strata side by side with Debian's docker-registry and nginx, and by itself as it fills.

Every step is run on all servers in turn before the next step, so that a noisy minute hits them alike; with --rounds the
whole is repeated and medians are told. The load comes from `strata bench`. With --write the tables in
docs/benchmarks.md are replaced.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
STRATA = ROOT / ".build/release/strata"
WORK = ROOT / ".build/bench"
PAGE = ROOT / "docs/benchmarks.md"
KIB, MIB = 1024, 1024 * 1024


class Server:
    """One server on loopback with its own fresh folder."""

    def __init__(self, name):
        self.name = name
        self.folder = WORK / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        for _ in range(200):
            try:
                urllib.request.urlopen(self.url + self.probe, timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise SystemExit(f"{name} did not start: {(self.folder / 'log').read_text()[-2000:]}")

    probe = "/v2/"

    def pids(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [str(self.process.pid), *children]

    def resident(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1000

    def bench(self, scenario, *options, workers):
        pids = [option for pid in self.pids() for option in ("--pid", pid)]
        command = [str(STRATA), "bench", "--url", self.url, "--json", "--scenario", scenario, "--workers", str(workers)]
        done = subprocess.run([*command, *pids, *map(str, options)], capture_output=True, text=True)
        if not done.stdout:
            raise SystemExit(f"{scenario} on {self.name}: {done.stderr}")
        result = json.loads(done.stdout)
        if result["errors"]:
            raise SystemExit(f"{scenario} on {self.name}: {result['errors']} errors, first: {result['firstError']}")
        return result

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Strata(Server):
    def command(self):
        return [str(STRATA), "serve", "--data", str(self.folder / "data"), "--listen", f"127.0.0.1:{self.port}",
                "--log-level", "warning"]


class DockerRegistry(Server):
    def command(self):
        config = self.folder / "config.yml"
        config.write_text(f"""
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {self.folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{self.port}"}}
""")
        return ["docker-registry", "serve", str(config)]


class Nginx(Server):
    probe = "/1024"

    def command(self):
        files = self.folder / "files"
        files.mkdir()
        for size in (KIB, 40 * MIB):
            (files / str(size)).write_bytes(os.urandom(size))
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind}; "
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(f"""
worker_processes 2; daemon off; error_log {self.folder}/error; pid {self.folder}/pid;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; {temporary}
        server {{ listen 127.0.0.1:{self.port}; root {files}; }} }}
""")
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


def size_text(size):
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def steps(seconds):
    """(title, scenario, options, workers, what is told, which servers, nginx's scenario if it takes part)"""
    timed = ("--seconds", seconds)
    for size, workers in [(KIB, (1, 8, 50)), (MIB, (1, 8, 50)), (40 * MIB, (1, 8, 50))]:
        for count in workers:
            limit = ("--operations", 48 if count == 1 else 96) if size > MIB else timed
            unit = "gigabyte" if size > KIB else "operation"
            yield f"push {size_text(size)}, {count} workers", "push-blob", ("--size", size, *limit), count, unit, None
    yield "push an image of 5 × 1 MiB, 3 layers known, 8 workers", "push-image", timed, 8, "operation", None
    for count in (1, 8, 50):
        size = 40 * MIB
        yield (f"pull {size_text(size)}, {count} workers", "pull-blob", ("--size", size, *timed), count, "gigabyte",
               ("--path", f"/{size}"))
    yield "pull 1 KiB, 8 workers", "pull-blob", ("--size", KIB, *timed), 8, "operation", ("--path", f"/{KIB}")
    corpus = ("--prefix", "bench", "--manifests", 1000)
    for scenario in ("get-manifest-by-tag", "get-manifest-by-digest", "head-manifest-by-tag", "head-manifest-by-digest"):
        yield (f"{scenario.replace('-', ' ').replace('get', 'GET').replace('head', 'HEAD')}, 1,000 tags, 32 workers",
               scenario, (*corpus, *timed), 32, "operation", ("--path", f"/{KIB}") if "get" in scenario else None)
    tags = ("--prefix", "tags", "--manifests", 10_000)
    yield "GET manifest by tag, 10,000 tags, 32 workers", "get-manifest-by-tag", (*tags, *timed), 32, "operation", None
    yield "list 10,000 tags, 8 workers", "list-tags", (*tags, *timed), 8, "operation", None
    yield ("_catalog of 1,000 repositories, 8 workers", "list-catalog",
           ("--prefix", "catalog", "--repositories", 1000, "--manifests", 1000, *timed), 8, "operation", None)


def side_by_side(rounds, seconds):
    servers = [Strata("strata"), DockerRegistry("docker-registry"), Nginx("nginx")]
    try:
        time.sleep(2)
        idle = {server.name: server.resident() for server in servers}
        for server in servers[:2]:
            for prefix, repositories, manifests in [("bench", 1, 1000), ("tags", 1, 10_000), ("catalog", 1000, 1000)]:
                print(f"seeding {server.name}: {prefix}", flush=True)
                server.bench("seed", "--prefix", prefix, "--repositories", repositories, "--manifests", manifests,
                             workers=8)
        results = {}
        for round in range(rounds):
            for title, scenario, options, workers, unit, path in steps(seconds):
                for server in servers:
                    if server.name == "nginx":
                        if path is None:
                            continue
                        result = server.bench("get-path", *path, "--seconds", seconds, workers=workers)
                    else:
                        result = server.bench(scenario, *options, workers=workers)
                    results.setdefault((title, unit), {}).setdefault(server.name, []).append(result)
                    print(round + 1, title, server.name, cell([result], unit), flush=True)
    finally:
        for server in servers:
            server.stop()
    yield "| step | Strata | docker-registry 2.8.2 | nginx | CPU, docker-registry ÷ Strata |"
    yield "|---|---|---|---|---|"
    for (title, unit), by_server in results.items():
        cells = [cell(by_server[name], unit) if name in by_server else "" for name in ("strata", "docker-registry", "nginx")]
        ratio = cost(by_server["docker-registry"], unit) / cost(by_server["strata"], unit)
        yield f"| {title} | {' | '.join(cells)} | {ratio:.1f} × |"
    yield (f"| idle RSS | {idle['strata']:.0f} MB | {idle['docker-registry']:.0f} MB | "
           f"{idle['nginx']:.0f} MB + workers | |")


def cost(results, unit):
    key = "cpuSecondsPerGigabyte" if unit == "gigabyte" else "cpuMillisecondsPerOperation"
    return statistics.median(result["server"][key] for result in results)


def cell(results, unit):
    peak = max(result["server"]["peakResidentBytes"] for result in results) / 1e6
    if unit == "gigabyte":
        rate = statistics.median(result["megabytesPerSecond"] for result in results)
        return f"{rate:,.0f} MB/s · {cost(results, unit):.2f} s/GB · {peak:.0f} MB"
    rate = statistics.median(result["operationsPerSecond"] for result in results)
    return f"{rate:,.0f}/s · {cost(results, unit):.3g} ms"


def memory(seconds):
    """Peaks of a fresh process: in the table above a server keeps the peak of the steps before."""
    yield "| step, on a fresh server | Strata | docker-registry 2.8.2 |"
    yield "|---|---|---|"
    for title, scenario, options in [
        ("50 pulls of 40 MiB at a time", "pull-blob", ("--size", 40 * MIB, "--seconds", seconds)),
        ("50 uploads of 40 MiB at a time", "push-blob", ("--size", 40 * MIB, "--operations", 100)),
    ]:
        cells = []
        for kind, name in [(Strata, "strata"), (DockerRegistry, "docker-registry")]:
            server = kind(name)
            try:
                result = server.bench(scenario, *options, workers=50)
            finally:
                server.stop()
            cells.append(f"{result['server']['peakResidentBytes'] / 1e6:.0f} MB")
            print(title, name, cells[-1], flush=True)
        yield f"| {title} | {' | '.join(cells)} |"


def growth(sizes, seconds):
    yield "| manifests stored | GET manifest by tag | GET by digest | push a manifest with a tag | push 1 KiB | database |"
    yield "|---|---|---|---|---|---|"
    server = Strata("growth")
    try:
        for size in sizes:
            corpus = ("--prefix", "growth", "--repositories", 100, "--manifests", size)
            print(f"seeding {size:,} manifests", flush=True)
            server.bench("seed", *corpus, workers=16)
            row = [f"{size:,}"]
            for scenario in ("get-manifest-by-tag", "get-manifest-by-digest", "push-manifest", "push-blob"):
                workers = 32 if scenario.startswith("get") else 8
                row.append(cell([server.bench(scenario, *corpus, "--seconds", seconds, workers=workers)], "operation"))
            stored = sum(file.stat().st_size for file in (server.folder / "data").glob("*.sqlite*"))
            row.append(f"{stored / 1e6:,.0f} MB")
            print(" | ".join(row), flush=True)
            yield f"| {' | '.join(row)} |"
    finally:
        server.stop()


def ceilings():
    """What the machine itself needs in the same run, without any server."""
    digest = subprocess.run(["openssl", "speed", "-seconds", "2", "-bytes", "262144", "-mr", "sha256"],
                            capture_output=True, text=True).stdout
    rate = float(next(line for line in digest.splitlines() if line.startswith("+F")).split(":")[-1])
    yield f"- SHA-256 alone: {1e9 / rate:.2f} CPU-s/GB (`openssl speed sha256`)"
    WORK.mkdir(parents=True, exist_ok=True)
    block, count = bytes(256 * KIB), 8192
    for title in ("new memory", "memory that the step before has just given back"):
        before = time.process_time()
        with open(WORK / "ceiling", "wb", buffering=0) as file:
            for _ in range(count):
                file.write(block)
            os.fsync(file.fileno())
        spent = (time.process_time() - before) / (count * len(block) / 1e9)
        (WORK / "ceiling").unlink()
        yield f"- writing a file and fsync, page cache in {title}: {spent:.2f} CPU-s/GB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each step")
    parser.add_argument("--growth", default="10000,100000,1000000", help="numbers of manifests; empty for none")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    lines = [f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {os.cpu_count()} cores ({model}, "
             f"Linux {platform.release().split('-')[0]}), load at the start {os.getloadavg()[0]:.1f}, medians of "
             f"{options.rounds} rounds.", ""]
    lines += [*ceilings(), ""]
    lines += [*side_by_side(options.rounds, options.seconds), ""]
    lines += [*memory(options.seconds), ""]
    sizes = [int(size) for size in options.growth.split(",") if size]
    if sizes:
        lines += [*growth(sizes, options.seconds), ""]
    text = "\n".join(lines)
    print(text)
    if options.write:
        begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->"
        head, rest = PAGE.read_text().split(begin)
        PAGE.write_text(head + begin + text + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
