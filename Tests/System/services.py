"""Real servers for tests, on loopback, each in a folder of its own and gone with it: PostgreSQL, Ceph's radosgw, SeaweedFS.

    services.py postgres -- COMMAND…    runs a command beside a server; STRATA_TEST_POSTGRES tells it where
"""
import contextlib
import os
import pathlib
import pwd
import re
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
                "shared_buffers = 128MB", "max_connections = 500", "wal_level = replica", "max_wal_senders = 10",
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

    @staticmethod
    def children(process) -> dict[int, str]:
        """The titles of a postmaster's children by their process ids."""
        command = ["ps", "--ppid", str(process.pid), "-o", "pid=,args="]
        listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        return {int(pid): title for pid, title in (line.split(maxsplit=1) for line in listed)}

    def stop_writers(self):
        """SIGSTOP to what writes in the background: from now on nothing but a commit brings anything to the disk."""
        titles = self.children(self.processes[0])
        writers = [pid for pid, title in titles.items() if re.search("walwriter|background writer|checkpointer", title)]
        assert len(writers) == 3, titles
        for pid in writers:
            os.kill(pid, signal.SIGSTOP)

    def kill(self):
        """SIGKILL to the postmaster and its children, which would otherwise go on for a moment."""
        for process in self.processes:
            children = self.children(process)
            process.kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.wait()
            wait_until("its children", lambda: not any(pathlib.Path(f"/proc/{c}").exists() for c in children))
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


class PgBouncer(Service):
    """A pooler in front of a server, in the mode `session` or `transaction`."""

    def __init__(self, postgres: Postgres, mode: str, connections: int):
        super().__init__("pgbouncer")
        self.postgres, self.mode, self.connections = postgres, mode, connections
        (self.port,) = free_ports(1)
        if postgres.user:
            os.chown(self.folder, postgres.user["user"], postgres.user["group"])

    def start(self):
        (self.folder / "users").write_text('"postgres" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host=127.0.0.1 port={self.postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {self.folder}/users
admin_users = postgres
pool_mode = {self.mode}
default_pool_size = {self.connections}
max_client_conn = 200
query_wait_timeout = 15
"""
        )
        self.spawn("/usr/sbin/pgbouncer", self.folder / "pgbouncer.ini", **self.postgres.user)
        wait_until("PgBouncer", lambda: socket.create_connection(("127.0.0.1", self.port), timeout=1).close() is None)
        return self

    def behind(self, conninfo: str) -> str:
        """The way to a database of the server that leads through here."""
        return conninfo.replace(f"port={self.postgres.port}", f"port={self.port}")


class ObjectStore(Service):
    """An S3-compatible server with one user."""

    ACCESS_KEY = "teststrata"
    SECRET_KEY = "test-secret-of-strata"
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self):
        """boto3's: a client that is not ours."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=self.ACCESS_KEY,
            aws_secret_access_key=self.SECRET_KEY,
            config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10, s3={"addressing_style": "path"}),
        )

    def bucket(self) -> str:
        """A new, empty bucket."""
        name = "t" + uuid.uuid4().hex
        self.client().create_bucket(Bucket=name)
        return name

    def settings(self, bucket: str, endpoint: str = "") -> dict:
        """The configuration of a server that keeps its blobs in a bucket."""
        return {
            "blobs": "s3", "s3.endpoint": endpoint or self.endpoint, "s3.bucket": bucket, "s3.credentials": "keys",
            "s3.access-key-id": self.ACCESS_KEY, "s3.secret-access-key": self.SECRET_KEY,
        }

    def objects(self, bucket: str) -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def uploads(self, bucket: str) -> list[str]:
        """The keys of multipart uploads that nobody finished or gave up."""
        return sorted(item["Key"] for item in self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []))


class SeaweedFS(ObjectStore):
    """The second implementation: newer than Ceph's in some things, laxer in others. Its user has two pairs of keys."""

    OTHER_ACCESS_KEY = "otherstrata"
    OTHER_SECRET_KEY = "other-secret-of-strata"

    def __init__(self):
        super().__init__("seaweedfs")
        self.ports = free_ports(8)
        self.port = self.ports[6]

    def start(self):
        import json

        keys = [(self.ACCESS_KEY, self.SECRET_KEY), (self.OTHER_ACCESS_KEY, self.OTHER_SECRET_KEY)]
        credentials = [{"accessKey": access, "secretKey": secret} for access, secret in keys]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [{"name": "strata", "credentials": credentials, "actions": actions}]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = self.ports
        self.spawn(
            VENV / "weed", "-logtostderr=true", "-v=0", "server", f"-dir={self.folder}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-master.telemetry=false", f"-master.port={master}", f"-master.port.grpc={master_grpc}",
            "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=1024", "-volume.max=200",
            "-volume.preStopSeconds=0", f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-filer",
            f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}", f"-filer.localSocket={self.folder}/filer.sock",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={self.folder}/s3.json",
            f"-s3.localSocket={self.folder}/s3.sock", "-s3.port.iceberg=0", "-s3.port.lance=0",
        )
        # It answers before it can store anything.
        wait_until("SeaweedFS", self.can_store)
        return self

    def can_store(self) -> bool:
        try:
            self.client().put_object(Bucket=self.bucket(), Key="k", Body=b"x")
            return True
        except Exception:  # whatever boto3 says, it is not ready yet
            return False


class RadosGateway(ObjectStore):
    """Ceph's S3: strict about signatures and payload hashes. One monitor, one OSD on a file, one gateway."""

    def __init__(self):
        super().__init__("ceph")
        self.monitor, self.monitor_v1, self.port = free_ports(3)

    def start(self):
        for name in ["mon", "osd", "rgw"]:
            (self.folder / name).mkdir()
        fsid = str(uuid.uuid4())
        (self.folder / "ceph.conf").write_text(
            f"""
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{self.monitor},v1:127.0.0.1:{self.monitor_v1}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = {self.folder}
admin socket = {self.folder}/$name.asok
log file = {self.folder}/$name.log
mon cluster log file = {self.folder}/cluster.log
crash dir = {self.folder}
pid file = {self.folder}/$name.pid
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1
osd objectstore = bluestore
bluestore block create = true
bluestore block size = 21474836480
osd memory target = 939524096
rgw rados pool pg num min = 4
rgw relaxed s3 bucket names = false
[mon.a]
mon data = {self.folder}/mon
[osd.0]
osd data = {self.folder}/osd
[client.rgw.a]
rgw data = {self.folder}/rgw
# The gateway has defaults of its own for these two: said again here, or it never connects.
auth client required = none
ms mon client mode = crc
rgw frontends = beast endpoint=127.0.0.1:{self.port}
rgw thread pool size = 64
"""
        )
        addresses = f"[v2:127.0.0.1:{self.monitor},v1:127.0.0.1:{self.monitor_v1}]"
        self.tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, self.folder / "monmap")
        self.ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", self.folder / "monmap")
        self.daemon("ceph-mon", "-i", "a")
        wait_until("Ceph's monitor", lambda: self.ceph("ceph", "--connect-timeout", "5", "-s") is not None)
        osd = str(uuid.uuid4())
        self.ceph("ceph", "osd", "new", osd)
        self.ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.launch_storage()
        self.ceph(
            "radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid=strata", "--display-name=strata",
            f"--access-key={self.ACCESS_KEY}", f"--secret-key={self.SECRET_KEY}", "--max-buckets=0",
        )
        return self

    def launch(self):
        """Starts it again where it was killed."""
        self.daemon("ceph-mon", "-i", "a")
        self.launch_storage()

    def launch_storage(self):
        self.daemon("ceph-osd", "-i", "0")
        wait_until("Ceph's OSD", lambda: "1 up" in self.ceph("ceph", "--connect-timeout", "5", "osd", "stat"))
        self.daemon("radosgw", "-n", "client.rgw.a")
        wait_until("Ceph's gateway", lambda: urllib.request.urlopen(self.endpoint, timeout=2).status == 200, timeout=120)

    def daemon(self, name, *arguments):
        self.spawn(name, "-c", self.folder / "ceph.conf", *arguments, "-f")

    def ceph(self, name, *arguments) -> str:
        return self.tool(name, "-c", self.folder / "ceph.conf", *arguments)

    def tool(self, *command) -> str:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=self.folder, timeout=60)
        if done.returncode:
            raise subprocess.SubprocessError(f"{command[0]} failed: {done.stderr[-2000:]}")
        return done.stdout


SERVICES = {"postgres": (Postgres, "STRATA_TEST_POSTGRES", lambda s: s.conninfo)}


def main():
    split = sys.argv.index("--")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends with us
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        for name in sys.argv[1:split]:
            make, variable, value = SERVICES[name]
            environment[variable] = value(stack.enter_context(make()))
        sys.exit(subprocess.run(sys.argv[split + 1:], env=environment).returncode)


if __name__ == "__main__":
    main()
