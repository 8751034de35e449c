"""What deploy/ shows is right: its keys exist, its configurations are accepted, its parts fit together."""
import json
import os
import re
import subprocess

import pytest
import yaml

from harness import BINARY, ROOT

DEPLOY = ROOT / "deploy"
SYSTEMD = DEPLOY / "systemd"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = DEPLOY / "Containerfile"
FILES = [DEPLOY / "README.md", CONTAINERFILE, *sorted(SYSTEMD.iterdir()), *sorted(KUBERNETES.iterdir())]
# systemd's own time before it kills, where a unit names none.
DEFAULT_STOP_SECONDS = 90


def strata(*arguments, environment=()):
    """Runs it without variables of ours that the environment of the tests may have."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRATA_")}
    return subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=30, env={**clean, **dict(environment)}
    )


def keys() -> dict:
    """Key → value of the defaults."""
    printed = json.loads(strata("config", "print", "--json").stdout)
    return {name: entry["value"] for name, entry in printed.items()}


def variable(key: str) -> str:
    return "STRATA_" + re.sub("[.-]", "_", key).upper()


def manifest(name: str):
    return yaml.safe_load((KUBERNETES / name).read_text())


def settings(name: str) -> dict:
    """The keys of a configuration file that lists them flat."""
    text = manifest("configmap.yaml")["data"]["strata.yaml"] if name == "kubernetes" else (SYSTEMD / "strata.yaml").read_text()
    return yaml.safe_load(text)


def unit(name: str) -> dict:
    """The settings of a unit; the last one wins."""
    lines = (SYSTEMD / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_one_of_a_key(path):
    known = {variable(key) for key in keys()} | {"STRATA_CONFIG"}
    for name in re.findall(r"STRATA_[A-Z0-9_]+", path.read_text()):
        # Kubernetes' own, which the manifests and the page speak about.
        assert name in known or re.match(r"STRATA_(SERVICE|PORT)", name), f"{path.name} uses {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_key_that_is_spoken_of_exists(path):
    sections = {key.split(".")[0] for key in keys() if "." in key}
    for name in re.findall(r"(?<![\w./-])((?:%s)\.[a-z][a-z-]+)(?![\w./])" % "|".join(sections), path.read_text()):
        assert name in keys() or name.endswith((".example.yaml", ".yaml")), f"{path.name} speaks of {name}"


def test_the_file_for_systemd_is_accepted():
    done = strata("config", "check", "--config", SYSTEMD / "strata.yaml")
    assert done.returncode == 0, done.stderr


def test_the_files_for_kubernetes_are_accepted_beside_the_variables_of_a_service(tmp_path):
    (tmp_path / "strata.yaml").write_text(manifest("configmap.yaml")["data"]["strata.yaml"])
    environment = {
        **manifest("secret.example.yaml")["stringData"],
        "STRATA_CONFIG": str(tmp_path / "strata.yaml"), "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "STRATA_SERVICE_HOST": "10.0.0.2", "STRATA_SERVICE_PORT_HTTP": "80", "STRATA_PORT": "tcp://10.0.0.2:80",
        "STRATA_PORT_80_TCP_ADDR": "10.0.0.2",
    }
    done = strata("config", "check", environment=environment)
    assert done.returncode == 0, done.stderr
    without_secret = {name: value for name, value in environment.items() if name != "STRATA_POSTGRES_URL"}
    assert "postgres.url" in strata("config", "check", environment=without_secret).stderr


def image_environment() -> dict:
    (line,) = re.findall(r"^ENV (.*)$", CONTAINERFILE.read_text(), re.M)
    return dict(pair.split("=", 1) for pair in line.split())


def test_the_image_asks_whether_plain_http_is_meant():
    refused = strata("config", "check", environment=image_environment())
    assert refused.returncode != 0 and "http.allow-plain" in refused.stderr
    done = strata("config", "check", environment=image_environment() | {"STRATA_HTTP_ALLOW_PLAIN": "true"})
    assert done.returncode == 0, done.stderr


def test_the_image_has_the_libraries_that_the_binary_links():
    (install,) = re.findall(r"install -y --no-install-recommends \\\n\s+(ca-certificates [^\\]+)", CONTAINERFILE.read_text())
    packages = {
        "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3", "libsqlite3.so.0": "libsqlite3-0", "libpq.so.5": "libpq5",
        "libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libstdc++6", "libz.so.1": "zlib1g",
    }
    base = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    headers = subprocess.run(["readelf", "-d", BINARY], capture_output=True, text=True, check=True).stdout
    # A debug binary also links Swift's runtime, which a release has inside.
    swift = re.compile("lib(swift|_?Foundation|dispatch|BlocksRuntime)")
    needed = {name for name in re.findall(r"NEEDED.*\[(.*?)\]", headers) if not swift.match(name)} - base
    assert {packages.get(name, name) for name in needed} | {"ca-certificates"} == set(install.split())


@pytest.mark.embedded
def test_the_image_s_health_check_tells_a_server_that_is_ready(fresh):
    server = fresh()
    (line,) = re.findall(r"^    CMD (\[.*\])$", CONTAINERFILE.read_text(), re.M)
    command = json.loads(line)
    assert "127.0.0.1/5000" in command[2]
    check = [*command[:2], command[2].replace("5000", str(server.port))]
    assert subprocess.run(check, timeout=10).returncode == 0
    server.stop()
    assert subprocess.run(check, timeout=10, stderr=subprocess.DEVNULL).returncode != 0


def test_systemd_understands_the_units(tmp_path):
    for path in SYSTEMD.iterdir():
        if path.suffix in (".service", ".timer"):
            # Where the binary will be, there need not be one yet.
            (tmp_path / path.name).write_text(path.read_text().replace("/usr/local/bin/strata", BINARY))
    units = sorted(tmp_path.iterdir())
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert not complaints, complaints


def test_the_service_is_well_confined():
    """At most 2.0 of 10 on systemd's own scale, where 10 is no confinement at all."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", SYSTEMD / "strata.service"],
        capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_systemd_waits_for_requests_in_flight():
    drain = settings("systemd").get("http.drain-seconds", keys()["http.drain-seconds"])
    assert int(unit("strata.service").get("TimeoutStopSec", DEFAULT_STOP_SECONDS)) > drain


@pytest.mark.parametrize("path", sorted(KUBERNETES.iterdir()), ids=lambda path: path.name)
def test_manifests_are_yaml_of_a_known_shape(path):
    content = yaml.safe_load(path.read_text())
    assert content["apiVersion"] and content["kind"]
    if content["kind"] != "Kustomization":
        assert content["metadata"]["name"] == "strata"


def test_the_kustomization_names_what_is_there():
    listed = set(manifest("kustomization.yaml")["resources"])
    there = {path.name for path in KUBERNETES.iterdir()}
    assert listed == there - {"kustomization.yaml", "secret.example.yaml", "networkpolicy.yaml"}


def pod() -> dict:
    return manifest("deployment.yaml")["spec"]["template"]["spec"]


def container() -> dict:
    (one,) = pod()["containers"]
    return one


def test_manifests_fit_together():
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifest("deployment.yaml")["spec"]["selector"]["matchLabels"], manifest("service.yaml")["spec"]["selector"],
        manifest("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
        manifest("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
        *[each["labelSelector"]["matchLabels"] for each in pod()["topologySpreadConstraints"]],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert settings("kubernetes")["listen"] == f"0.0.0.0:{ports['http']}"
    assert manifest("service.yaml")["spec"]["ports"][0]["targetPort"] in ports
    assert manifest("horizontalpodautoscaler.yaml")["spec"]["scaleTargetRef"] == {
        "apiVersion": manifest("deployment.yaml")["apiVersion"], "kind": "Deployment", "name": "strata",
    }
    assert container()["env"] == [{"name": "STRATA_CONFIG", "value": "/etc/strata/strata.yaml"}]
    assert [mount["mountPath"] for mount in container()["volumeMounts"]] == ["/etc/strata"]
    assert pod()["volumes"][0]["configMap"]["name"] == manifest("configmap.yaml")["metadata"]["name"]
    assert container()["envFrom"][0]["secretRef"]["name"] == manifest("secret.example.yaml")["metadata"]["name"]
    assert pod()["serviceAccountName"] == manifest("serviceaccount.yaml")["metadata"]["name"]
    assert f"USER {pod()['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}\n" in CONTAINERFILE.read_text()


def test_a_pod_that_stops_has_the_time_it_needs():
    command, pause = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    drain = settings("kubernetes")["http.drain-seconds"]
    assert int(pause) + drain < pod()["terminationGracePeriodSeconds"]


def test_uploads_fit_into_a_pod_s_memory():
    limit = container()["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert settings("kubernetes")["s3.upload-memory-bytes"] * 3 <= int(limit[:-2]) << 20


@pytest.mark.embedded
def test_the_probes_paths_are_answered(fresh):
    server = fresh()
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
        get = container()[probe]["httpGet"]
        assert get["port"] == "http" and server.request("GET", get["path"]).status == 200
    scrape = manifest("deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    assert server.request("GET", scrape["prometheus.io/path"]).body.startswith(b"#")


@pytest.mark.embedded
def test_a_configured_path_of_systemd_s_backup_is_a_command(fresh, tmp_path):
    server = fresh()
    server.push_image("a", "v1", [os.urandom(20_000)])
    command = unit("strata-backup.service")["ExecStart"].split()
    places = {"/etc/strata/strata.yaml": str(SYSTEMD / "strata.yaml"), "/var/backups/strata": str(tmp_path / "backup")}
    assert places.keys() <= set(command)
    arguments = [places.get(word, word) for word in command[1:]]
    done = strata(*arguments, "--data", server.data)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "backup/snapshot.sqlite").exists()
