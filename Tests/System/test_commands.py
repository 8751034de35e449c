"""Commands beside the server: what they leave alone, what they say, and with which status they end."""
import os
import pathlib
import stat
import subprocess

import pytest

from harness import BINARY, Server

ON_A_REGISTRY = [
    ["verify"], ["gc", "status"], ["gc", "run"], ["gc", "explain", "sha256:" + "0" * 64], ["hold", "list", "a"],
    ["hold", "set", "a", "v1", "--reason", "x"], ["hold", "release", "a", "1"], ["retention", "show", "registry"],
    ["retention", "set", "registry", "-"], ["retention", "remove", "registry"], ["retention", "preview", "a"],
    ["retention", "apply", "a"], ["retention", "history", "a"], ["undelete", "--list"], ["restore-check"],
]
POLICY = '{"version": 1, "rules": [{"keep": "last", "count": 1, "by": "pushed"}]}'


def strata(*arguments, text=POLICY, mask=0o022):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60, input=text, umask=mask)


@pytest.mark.parametrize("command", ON_A_REGISTRY, ids=" ".join)
def test_a_folder_without_a_registry_gets_none(tmp_path, command):
    for folder in [tmp_path / "missing", tmp_path]:
        done = strata(*command, "--data", folder)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr == f"Error: {folder} holds no registry: metadata.sqlite is missing.\n"
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ON_A_REGISTRY[:-1], ids=" ".join)
def test_no_schema_is_changed_in_passing(fresh, stores, command):
    """By commands of another release than the servers'. `serve` and `migrate` change it, and say so."""
    server = fresh()
    assert server.stop() == 0
    newest = "DELETE FROM schema_migration WHERE version = (SELECT max(version) FROM schema_migration)"
    for change, advice in [("INSERT INTO schema_migration VALUES (99, 'future', 0)", "newer strata"),
                           (newest, None), (newest, "strata migrate"), ("DELETE FROM schema_migration", "strata migrate")]:
        stores.sql(server, change)
        if advice:
            before = stores.sql(server, "SELECT version FROM schema_migration ORDER BY version")
            done = strata(*command, *server.options)
            assert (done.returncode, done.stdout) == (1, "") and advice in done.stderr, done
            assert stores.sql(server, "SELECT version FROM schema_migration ORDER BY version") == before


def test_an_import_makes_a_registry_and_upgrades_none(stores, fresh):
    """The source is not there, and is asked last."""
    command = ["import", "--from", "http://127.0.0.1:1"]
    new = Server(settings=stores.settings())
    assert strata(*command, *new.options).returncode == 1
    assert strata("hold", "list", "a", *new.options).stderr == "Error: There is no repository a.\n"
    old = fresh()
    assert old.stop() == 0
    stores.sql(old, "DELETE FROM schema_migration WHERE version = (SELECT max(version) FROM schema_migration)")
    before = stores.sql(old, "SELECT version FROM schema_migration ORDER BY version")
    done = strata(*command, *old.options)
    assert done.returncode == 1 and "strata migrate" in done.stderr, done
    assert stores.sql(old, "SELECT version FROM schema_migration ORDER BY version") == before


@pytest.mark.shared
def test_a_database_without_a_registry_gets_none(stores):
    server = Server(settings=stores.settings())
    done = strata("hold", "list", "a", *server.options)
    assert done.returncode == 1 and "strata migrate" in done.stderr, done
    tables = stores.sql(server, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
    assert tables == ["0"]


@pytest.mark.embedded
def test_what_is_kept_is_not_for_everybody_to_read(tmp_path):
    """The database has a secret and small blobs in it."""
    data = tmp_path / "above/data"
    assert strata("migrate", "--data", data).returncode == 0
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in [data, *data.iterdir()]}
    assert modes.pop("data") == modes.pop("objects") == "0o750"
    assert modes and set(modes.values()) == {"0o640"}, modes
    with Server(data=str(data)) as server:
        server.push_blob("a", b"small")
        assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in data.glob("metadata.sqlite*")} == {"0o640"}


@pytest.mark.embedded
def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    assert strata("migrate", "--data", tmp_path).returncode == 0
    pathlib.Path(tmp_path, "metadata.sqlite").chmod(0o644)
    assert strata("migrate", "--data", tmp_path).returncode == 0
    modes = [stat.S_IMODE(path.stat().st_mode) for path in [tmp_path, tmp_path / "metadata.sqlite"]]
    assert modes == [0o755, 0o644]


@pytest.mark.embedded
def test_a_failure_is_one_sentence_and_a_mistake_in_the_command_shows_its_usage(tmp_path):
    with Server(data=str(tmp_path)) as server:
        server.push_image("a", "v1")
    for command, sentence in [
        (["retention", "show", "registry"], "There is no policy of registry."),
        (["retention", "remove", "registry"], "There is no policy of registry."),
        (["retention", "preview", "a"], "No policy holds in a."),
        (["retention", "apply", "a"], "No policy holds in a."),
        (["retention", "preview", "b"], "There is no repository b."),
        (["retention", "apply", "b"], "There is no repository b."),
        (["retention", "set", "registry", tmp_path / "nothing"], f"{tmp_path}/nothing cannot be read."),
    ]:
        done = strata(*command, "--data", tmp_path)
        assert (done.returncode, done.stderr) == (1, f"Error: {sentence}\n")
    done = strata("retention", "set", "registry", "-", "--data", tmp_path, text='{"version": 1, "rules": [{"keep": 1}]}')
    assert done.returncode == 1 and done.stderr.startswith("Error: standard input: ") and "Usage" not in done.stderr
    done = strata("retention", "show", "--data", tmp_path)
    assert done.returncode == 64 and "Usage" in done.stderr
