"""Real servers for tests, on loopback, each in a folder of its own and gone with it: PostgreSQL, Ceph's radosgw, SeaweedFS.

    services.py postgres -- COMMAND…    runs a command beside a server; STRATA_TEST_POSTGRES tells it where
"""
import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".build-tools/venv/bin"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def wait_until(what: str, check, timeout=60):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            if check():
                return
        time.sleep(0.05)
    raise RuntimeError(f"{what}: not within {timeout} s")


class Service:
    def __init__(self, name: str):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"strata-{name}-"))
        os.chmod(self.folder, 0o755)
        self.processes: list[subprocess.Popen] = []

    def spawn(self, *command, **options) -> subprocess.Popen:
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )
        self.processes.append(process)
        return process

    def kill(self):
        """SIGKILL to all of it, last started first."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.processes = []

    def log_text(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            sys.stderr.write(self.log_text()[-3000:] if (self.folder / "log").exists() else "")
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Service):
    """A cluster of its own. Refuses to run as root, so root runs it as Debian's user postgres."""

    BIN = pathlib.Path("/usr/lib/postgresql/15/bin")

    def __init__(self, settings=(), folder=None):
        super().__init__("postgres")
        (self.port,) = free_ports(1)
        self.data = self.folder / "data"
        self.settings = list(settings)
        self.user = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres connect_timeout=2"

    def tool(self, name, *arguments, **options):
        done = subprocess.run(
            [str(self.BIN / name), *map(str, arguments)], capture_output=True, text=True, cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)}, **self.user, **options,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
        return done.stdout

    def start(self):
        if not self.data.exists():
            self.tool("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8", "-E", "UTF8")
            self.configure(
                "listen_addresses = '127.0.0.1'", f"port = {self.port}", f"unix_socket_directories = '{self.folder}'",
                "shared_buffers = 128MB", "max_connections = 200", "wal_level = replica", "max_wal_senders = 10",
                "max_replication_slots = 10", "wal_keep_size = 64MB", "hot_standby = on", *self.settings,
            )
            with open(self.data / "pg_hba.conf", "a") as hba:
                hba.write("host replication all 127.0.0.1/32 trust\n")
        self.launch()
        return self

    def configure(self, *lines):
        with open(self.data / "postgresql.conf", "a") as file:
            file.write("\n".join(lines) + "\n")

    def launch(self):
        self.spawn(self.BIN / "postgres", "-D", self.data, **self.user)
        wait_until("PostgreSQL", lambda: self.is_ready())

    def is_ready(self) -> bool:
        check = [str(self.BIN / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(check).returncode == 0

    def kill(self):
        """SIGKILL to the postmaster and its children, which would otherwise go on for a moment."""
        for process in self.processes:
            listed = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True)
            process.kill()
            for child in listed.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            process.wait()
            wait_until("its children", lambda: not any(pathlib.Path(f"/proc/{c}").exists() for c in listed.stdout.split()))
        self.processes = []
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def sql(self, statement: str, database="postgres") -> str:
        return self.tool(
            "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres",
            "-d", database, "-c", statement,
        ).strip()

    def database(self) -> str:
        """A new, empty database; returns its connection string."""
        name = "t" + uuid.uuid4().hex
        self.sql(f"CREATE DATABASE {name}")
        return f"{self.conninfo} dbname={name}"

    def replica(self) -> "Postgres":
        """A streaming replica of this one, not yet started."""
        other = Postgres()
        self.tool("pg_basebackup", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-D", self.folder / "copy",
                  "-X", "stream", "-R", "--checkpoint=fast", "-N")
        shutil.move(self.folder / "copy", other.data)
        other.configure(f"port = {other.port}", f"unix_socket_directories = '{other.folder}'")
        return other

    def promote(self):
        self.tool("pg_ctl", "-D", self.data, "promote", "-w", "-t", "30")


SERVICES = {"postgres": (Postgres, "STRATA_TEST_POSTGRES", lambda s: s.conninfo)}


def main():
    split = sys.argv.index("--")
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        for name in sys.argv[1:split]:
            make, variable, value = SERVICES[name]
            environment[variable] = value(stack.enter_context(make()))
        sys.exit(subprocess.run(sys.argv[split + 1:], env=environment).returncode)


if __name__ == "__main__":
    main()
