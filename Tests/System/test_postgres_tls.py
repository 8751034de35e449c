"""TLS between a node and PostgreSQL: what `sslmode` asks for is done, and what does not hold is named with what to do."""
import os
import subprocess

import pytest

from doctor import Doctor
from harness import Server, sha256
from services import Postgres, wait_until

HOST = "db.example.test"


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def authority(folder, name):
    """Makes a certificate that others can be signed with; returns its file."""
    folder.mkdir()
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            f"/CN={name}", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    return folder / "ca.pem"


def sign(ca, folder, name):
    """Makes a key and a certificate for `name`, signed by `ca`."""
    folder.mkdir()
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}", "-keyout", folder / "key.pem", "-out", folder / "request.pem")
    openssl("x509", "-req", "-in", folder / "request.pem", "-CA", ca, "-CAkey", ca.with_name("ca.key"), "-CAcreateserial",
            "-days", "2", "-copy_extensions", "copy", "-out", folder / "cert.pem")
    os.chmod(folder / "key.pem", 0o600)
    return folder


class Secured:
    """A PostgreSQL that takes nothing but TLS, and the user `certified` only with a certificate."""

    def __init__(self, folder):
        self.ca, self.other_ca = authority(folder / "ca", "ours"), authority(folder / "other", "theirs")
        self.client = sign(self.ca, folder / "client", "certified")
        self.postgres = Postgres().__enter__()
        server = sign(self.ca, folder / "server", HOST)
        files = {name: self.give(source) for name, source in
                 {"ssl_ca_file": self.ca, "ssl_cert_file": server / "cert.pem", "ssl_key_file": server / "key.pem"}.items()}
        self.postgres.configure("ssl = on", *(f"{name} = '{file}'" for name, file in files.items()))
        (self.postgres.data / "pg_hba.conf").write_text("hostssl all certified all cert\nhostssl all all all trust\n")
        self.postgres.sql("CREATE ROLE certified LOGIN SUPERUSER; SELECT pg_reload_conf()")
        wait_until("TLS", lambda: self.postgres.sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t")

    def give(self, source):
        """A copy of a file that the server may read and nobody else."""
        copy = self.postgres.folder / source.name
        copy.write_bytes(source.read_bytes())
        copy.chmod(0o600)
        if self.postgres.user:
            os.chown(copy, self.postgres.user["user"], self.postgres.user["group"])
        return copy

    def settings(self, host=HOST, user="postgres", **parameters):
        database = self.postgres.database().split("dbname=")[1]
        words = "&".join(f"{key}={value}" for key, value in {"hostaddr": "127.0.0.1", **parameters}.items())
        url = f"postgres://{user}@{host}:{self.postgres.port}/{database}?{words}"
        return {"metadata": "postgres", "postgres.url": url, "postgres.patience-seconds": 1}

    def connections(self) -> set[tuple[str, str]]:
        """Users of the connections that nodes have open, and whether each is under TLS."""
        rows = self.postgres.sql(
            "SELECT DISTINCT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname <> 'postgres'"
        )
        return {tuple(row.split("|")) for row in rows.splitlines()}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    made = Secured(tmp_path_factory.mktemp("tls"))
    yield made
    made.postgres.__exit__()


def assert_works(secured, host=HOST, user="postgres", **parameters):
    with Server(settings=secured.settings(host, user, **parameters)) as server:
        data = os.urandom(3_000)
        server.push_image("team/app", "v1", layers=[data])
        assert server.request("GET", f"/v2/team/app/blobs/{sha256(data)}").body == data
        assert secured.connections() == {(user, "t")}
        status, report = server.verify()
        assert (status, report["findings"]) == (0, [])


def test_a_server_whose_certificate_is_right_is_trusted(secured):
    assert_works(secured, sslmode="verify-full", sslrootcert=secured.ca)


def test_a_node_shows_the_server_its_own_certificate(secured):
    own = {"sslcert": secured.client / "cert.pem", "sslkey": secured.client / "key.pem"}
    assert_works(secured, user="certified", sslmode="verify-full", sslrootcert=secured.ca, **own)


def test_with_verify_ca_the_name_does_not_count(secured):
    assert_works(secured, host="elsewhere.test", sslmode="verify-ca", sslrootcert=secured.ca)


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
def test_a_certificate_of_another_authority_is_refused(secured, mode):
    refused = secured.settings(sslmode=mode, sslrootcert=secured.other_ca)
    Doctor(refused).problem("database", "certificate verify failed", "sslrootcert")


def test_a_certificate_for_another_host_is_refused(secured):
    refused = secured.settings("elsewhere.test", sslmode="verify-full", sslrootcert=secured.ca)
    Doctor(refused).problem("database", f'"{HOST}" does not match host name "elsewhere.test"', "host a name that")


def test_a_missing_file_of_the_authority_is_named(secured):
    refused = secured.settings(sslmode="verify-full", sslrootcert="/nowhere/ca.pem")
    Doctor(refused).problem("database", '"/nowhere/ca.pem" does not exist', "sslrootcert")


def test_a_server_that_insists_on_tls_is_not_talked_to_without(secured):
    Doctor(secured.settings(sslmode="disable")).problem("database", "no encryption", "sslmode")


def test_a_user_who_needs_a_certificate_is_told_so(secured):
    refused = secured.settings(user="certified", sslmode="verify-full", sslrootcert=secured.ca)
    Doctor(refused).problem("database", "valid client certificate", "sslcert")


@pytest.mark.shared
def test_a_server_without_tls_is_refused_where_it_is_required(stores):
    refused = {"metadata": "postgres", "postgres.url": f"{stores.postgres.database()} sslmode=require"}
    Doctor(refused | {"postgres.patience-seconds": 1}).problem("database", "server does not support SSL", "sslmode")
