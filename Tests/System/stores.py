"""The engines behind a server. Most tests run on both pairs, what is embedded and what many nodes share; those of the
specification, with clients, of concurrency, crashes and collection on a second object store, too, since stores fail in opposite
places."""
import contextlib
import os
import pathlib
import sqlite3
import subprocess

from services import Postgres, RadosGateway, SeaweedFS


class Embedded:
    """SQLite and files, in the server's data folder."""

    name = "embedded"

    def settings(self) -> dict:
        """The configuration of a server whose stores are new and empty."""
        return {}

    def objects(self, server) -> list[str]:
        """The names of all objects that a server has stored, published or not."""
        return sorted(name for _, _, names in os.walk(os.path.join(server.data, "objects")) for name in names)

    def replace_object(self, server, size, content: bytes | None):
        """Harms the only object of `size` bytes: gives it another content, or none at all."""
        files = [path for path in pathlib.Path(server.data, "objects").rglob("*") if path.is_file()]
        (path,) = [path for path in files if path.stat().st_size == size]
        path.unlink() if content is None else path.write_bytes(content)

    def sql(self, server, statement) -> list[str]:
        """The first column of what a statement says. Outside of the server's own locks: for questions, or while it is down."""
        with contextlib.closing(sqlite3.connect(os.path.join(server.data, "metadata.sqlite"), timeout=10)) as database:
            with database:
                return [str(row[0]) for row in database.execute(statement)]

    def end_connections(self, server, chance) -> bool:
        """There are none: the database is part of the process."""
        return False

    def close(self):
        pass


class Shared:
    """PostgreSQL and Ceph's S3: one of each for all tests, a database and a bucket for each server."""

    name = "shared"
    object_store = RadosGateway

    def __init__(self):
        self.postgres = Postgres().__enter__()
        self.s3 = self.object_store().__enter__()

    def settings(self) -> dict:
        database = {"metadata": "postgres", "postgres.url": self.postgres.database(), "postgres.connections": 8}
        return database | self.s3.settings(self.s3.bucket())

    def objects(self, server) -> list[str]:
        return [key.split("/")[-1] for key in self.s3.objects(server.settings["s3.bucket"])]

    def replace_object(self, server, size, content: bytes | None):
        """Harms the only object of `size` bytes: gives it another content, or none at all."""
        client, bucket = self.s3.client(), server.settings["s3.bucket"]
        listed = client.list_objects_v2(Bucket=bucket)["Contents"]
        (key,) = [item["Key"] for item in listed if item["Size"] == size]
        if content is None:
            client.delete_object(Bucket=bucket, Key=key)
        else:
            client.put_object(Bucket=bucket, Key=key, Body=content)

    def sql(self, server, statement) -> list[str]:
        """The first column of what a statement says."""
        return self.postgres.sql(statement, server.settings["postgres.url"].split("dbname=")[1]).splitlines()

    @contextlib.contextmanager
    def session(self, server, statements):
        """A session that has run statements, and is ended without a commit."""
        command = ["psql", "-X", "-q", "-A", "-t", "-d", server.settings["postgres.url"]]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            process.stdin.write(f"{statements}; SELECT 'done';\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            yield
            process.stdin.close()

    def end_connections(self, server, chance) -> bool:
        """Ends some of the server's connections, whatever they are doing."""
        database = server.settings["postgres.url"].split("dbname=")[1]
        self.postgres.sql(
            f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = '{database}' AND pid <> pg_backend_pid() ORDER BY random() LIMIT {chance.randrange(1, 9)}"""
        )
        return True

    def close(self):
        self.postgres.__exit__()
        self.s3.__exit__()


class SharedOnSeaweedFS(Shared):
    """PostgreSQL and SeaweedFS's S3, which is lax where Ceph is strict and strict where Ceph is lax."""

    name = "seaweedfs"
    object_store = SeaweedFS


PAIRS = {pair.name: pair for pair in (Embedded, Shared, SharedOnSeaweedFS)}
