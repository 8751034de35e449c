"""Real clients push and pull real images: docker, containerd, podman, buildah, skopeo, oras."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

from harness import OCI_MANIFEST, Server, sha256
from images import MARK, Layout, debian_layer, small_layer

pytestmark = pytest.mark.seaweedfs

UPLOADED = "strata_blob_upload_bytes_total"


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=240, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def registry(stores):
    with Server(settings=stores.settings()) as server:
        yield server
        assert server.verify()[1]["findings"] == []


@pytest.fixture(scope="module")
def home():
    folder = tempfile.mkdtemp(prefix="strata-clients-")
    pathlib.Path(folder, "auth.json").write_text("{}")
    os.environ.update(HOME=folder, DOCKER_CONFIG=folder, REGISTRY_AUTH_FILE=f"{folder}/auth.json")
    yield pathlib.Path(folder)
    subprocess.run(["rm", "-rf", folder])


@pytest.fixture(scope="module")
def layout(home):
    """debian: a whole root and a layer on top; small: one layer; zstd; multi: an index of two."""
    made = Layout(home / "layout")
    app = small_layer({"opt/mark": MARK})
    made.image("debian", [debian_layer(), app])
    amd64 = made.image("small", [app])
    arm64 = made.image(None, [small_layer({"opt/mark": b"arm\n"})], architecture="arm64")
    made.image("zstd", [app], kind="zstd")
    made.index("multi", [amd64, arm64])
    return made


def skopeo_push(registry, layout, tag, repository, *options):
    run(
        "skopeo", "copy", *options, "--dest-tls-verify=false", f"oci:{layout.folder}:{tag}",
        f"docker://{registry.host}/{repository}:{tag}",
    )


@pytest.fixture(scope="module")
def seeded(registry, layout):
    """The images of the layout under seed/, for clients to pull."""
    for tag in ("debian", "small", "zstd"):
        skopeo_push(registry, layout, tag, "seed/image")
    skopeo_push(registry, layout, "multi", "seed/image", "--all")
    return registry


def test_skopeo_pushes_what_it_pulls(seeded, layout, home):
    """The same bytes come back: every blob of the copied layout is a blob of the first."""
    for tag in ("debian", "zstd"):
        folder = home / f"pulled-{tag}"
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{seeded.host}/seed/image:{tag}", f"oci:{folder}:{tag}")
        for blob in (folder / "blobs/sha256").iterdir():
            assert blob.read_bytes() == (layout.folder / "blobs/sha256" / blob.name).read_bytes()


def test_skopeo_uploads_nothing_twice(seeded, layout):
    before = seeded.metric(UPLOADED)
    skopeo_push(seeded, layout, "debian", "seed/image")
    assert seeded.metric(UPLOADED) == before


def test_skopeo_copies_between_repositories_by_mount(seeded):
    """The layers of a whole Debian cross from one repository to another without a byte of them being sent."""
    before, mounted = seeded.metric(UPLOADED), seeded.metric('strata_blob_mounts_total{outcome="mounted"}')
    run(
        "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{seeded.host}/seed/image:debian", f"docker://{seeded.host}/copied/image:v1",
    )
    assert seeded.metric(UPLOADED) - before < 4096, "skopeo sends the config, never a layer"
    assert seeded.metric('strata_blob_mounts_total{outcome="mounted"}') == mounted + 2


def test_skopeo_lists_inspects_and_deletes(seeded, layout):
    skopeo_push(seeded, layout, "small", "skopeo/gone")
    listed = json.loads(run("skopeo", "list-tags", "--tls-verify=false", f"docker://{seeded.host}/skopeo/gone"))
    assert listed["Tags"] == ["small"]
    assert json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{seeded.host}/skopeo/gone:small"))["Digest"]
    run("skopeo", "delete", "--tls-verify=false", f"docker://{seeded.host}/skopeo/gone:small")
    assert seeded.request("GET", "/v2/skopeo/gone/manifests/small").status == 404


def test_skopeo_pushes_docker_schema_2(registry, layout):
    skopeo_push(registry, layout, "small", "skopeo/v2s2", "--format", "v2s2")
    got = registry.request("GET", "/v2/skopeo/v2s2/manifests/small")
    assert got.headers["content-type"] == "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def podman(home):
    return ["podman", "--root", home / "podman", "--runroot", home / "podman-run", "--storage-driver", "vfs"]


def test_podman(seeded, podman):
    """Pulls, pushes elsewhere, pushes again without sending a layer, and removes and pulls what it pushed."""
    image = f"{seeded.host}/seed/image:small"
    copy = f"{seeded.host}/podman/image:v1"
    run(*podman, "pull", "--tls-verify=false", image)
    run(*podman, "tag", image, copy)
    run(*podman, "push", "--tls-verify=false", copy)
    before = seeded.metric(UPLOADED)
    run(*podman, "push", "--tls-verify=false", copy)
    assert seeded.metric(UPLOADED) - before < 4096, "a layer was sent again"
    run(*podman, "rmi", "-f", image, copy)
    run(*podman, "pull", "--tls-verify=false", copy)
    mount = run(*podman, "image", "mount", copy).strip()
    assert (pathlib.Path(mount) / "opt/mark").read_bytes() == MARK
    run(*podman, "image", "unmount", copy)


def test_podman_pushes_zstd_and_lists(seeded, podman, home):
    (home / "new.tar").write_bytes(small_layer({"new": os.urandom(200_000)}))
    run(*podman, "import", home / "new.tar", "new:v1")
    run(
        *podman, "push", "--tls-verify=false", "--compression-format", "zstd", "--format", "oci",
        "new:v1", f"{seeded.host}/podman/zstd:v1",
    )
    manifest = seeded.request("GET", "/v2/podman/zstd/manifests/v1").json()
    assert manifest["layers"][0]["mediaType"].endswith("zstd")
    run(*podman, "manifest", "create", "multi")
    run(*podman, "manifest", "add", "--all", "--tls-verify=false", "multi", f"docker://{seeded.host}/seed/image:multi")
    run(*podman, "manifest", "push", "--all", "--tls-verify=false", "multi", f"docker://{seeded.host}/podman/multi:v1")
    assert len(seeded.request("GET", "/v2/podman/multi/manifests/v1").json()["manifests"]) == 2


def test_buildah(seeded, home):
    """Builds on a pulled image and pushes the result, compressing on the fly."""
    buildah = ["buildah", "--root", home / "buildah", "--runroot", home / "buildah-run", "--storage-driver", "vfs"]
    container = run(*buildah, "from", "--tls-verify=false", f"{seeded.host}/seed/image:small").strip()
    (home / "added").write_text("built")
    run(*buildah, "copy", container, home / "added", "/opt/added")
    run(*buildah, "commit", container, "built")
    run(*buildah, "push", "--tls-verify=false", "built", f"docker://{seeded.host}/buildah/image:v1")
    run(*buildah, "pull", "--tls-verify=false", f"docker://{seeded.host}/buildah/image:v1")
    assert len(seeded.request("GET", "/v2/buildah/image/manifests/v1").json()["layers"]) == 2


def wait_for(path, process, log):
    for _ in range(300):
        if os.path.exists(path):
            return
        assert process.poll() is None, pathlib.Path(log).read_text()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear; {pathlib.Path(log).read_text()}")


def daemon(command, socket, log):
    with open(log, "w") as out:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=out)
    wait_for(socket, process, log)
    return process


@pytest.fixture(scope="module")
def containerd(home):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ctrd-"))  # short: a socket's path has at most 107 bytes
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/s"\n'
    )
    process = daemon(["containerd", "-c", folder / "config.toml"], folder / "s", folder / "log")
    yield folder / "s"
    process.terminate()
    process.wait(20)
    subprocess.run(["rm", "-rf", folder])


def test_containerd(seeded, containerd):
    ctr = ["ctr", "-a", containerd, "images"]
    image, copy = f"{seeded.host}/seed/image:debian", f"{seeded.host}/containerd/image:v1"
    run(*ctr, "pull", "--snapshotter", "native", "--plain-http", image)
    run(*ctr, "tag", image, copy)
    before = seeded.metric(UPLOADED)
    run(*ctr, "push", "--plain-http", copy)
    assert seeded.metric(UPLOADED) == before, "containerd knows where its layers are from and mounts them"
    run(*ctr, "rm", image, copy)
    run(*ctr, "pull", "--snapshotter", "native", "--plain-http", copy)
    digests = [seeded.request("HEAD", f"/v2/{r}").headers["docker-content-digest"] for r in
               ("seed/image/manifests/debian", "containerd/image/manifests/v1")]
    assert digests[0] == digests[1]


@pytest.fixture(scope="module")
def docker(containerd):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dckr-"))
    process = daemon(
        [
            "dockerd", "--containerd", containerd, "--data-root", folder / "data", "--exec-root", folder / "exec",
            "-H", f"unix://{folder}/s", "--pidfile", folder / "pid", "--storage-driver", "vfs",
            "--iptables=false", "--ip6tables=false", "--bridge=none",
        ],
        folder / "s", folder / "log",
    )
    yield ["docker", "-H", f"unix://{folder}/s"]
    process.terminate()
    process.wait(30)
    subprocess.run(["rm", "-rf", folder])


def test_docker(seeded, docker):
    """docker: PATCH without a length, HEAD after each PUT, a new connection for each request."""
    image, copy = f"{seeded.host}/seed/image:small", f"{seeded.host}/docker/image:v1"
    for _ in range(50):
        if subprocess.run([*docker, "version"], capture_output=True).returncode == 0:
            break
        time.sleep(0.2)
    run(*docker, "pull", image)
    run(*docker, "tag", image, copy)
    run(*docker, "push", copy)
    before = seeded.metric(UPLOADED)
    run(*docker, "push", copy)
    assert seeded.metric(UPLOADED) == before, "a layer was sent again"
    imported = subprocess.run(
        [*docker, "import", "-", f"{seeded.host}/docker/imported:v1"], input=small_layer({"x": os.urandom(500_000)}),
        capture_output=True,
    )
    assert imported.returncode == 0, imported.stderr
    run(*docker, "push", f"{seeded.host}/docker/imported:v1")
    run(*docker, "rmi", f"{seeded.host}/docker/imported:v1")
    run(*docker, "pull", f"{seeded.host}/docker/imported:v1")


def test_oras(registry, home):
    """An artifact with files, one that is about it, and the way back."""
    venv = pathlib.Path(sys.executable).parent / "python3"
    (home / "artifact.txt").write_text("an artifact")
    subject = sha256(b"subject")  # which need not be there
    script = f"""
import os, oras.client, oras.oci
os.chdir({str(home)!r})
client = oras.client.OrasClient(hostname={registry.host!r}, insecure=True)
target = "{registry.host}/oras/artifact:v1"
assert client.push(target=target, files=["artifact.txt"]).status_code in (200, 201)
os.makedirs("back", exist_ok=True)
files = client.pull(target=target, outdir="back")
assert open(files[0]).read() == "an artifact", files
assert client.get_tags("{registry.host}/oras/artifact") == ["v1"]

subject = oras.oci.Subject({OCI_MANIFEST!r}, {subject!r}, 7)
attached = client.push(target="{registry.host}/oras/artifact:signature", files=["artifact.txt"], subject=subject)
assert attached.headers["OCI-Subject"] == subject.digest, attached.headers
"""
    run(venv, "-c", script)
    found = registry.request("GET", f"/v2/oras/artifact/referrers/{subject}").json()["manifests"]
    signature = registry.request("HEAD", "/v2/oras/artifact/manifests/signature").headers["docker-content-digest"]
    assert [one["digest"] for one in found] == [signature]
