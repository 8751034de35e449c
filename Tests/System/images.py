"""Real images without a hub: a Debian root by debootstrap, and layers on top of it, as OCI layouts."""
import fcntl
import gzip
import hashlib
import io
import json
import os
import pathlib
import subprocess
import tarfile

from harness import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, ROOT, sha256

CACHE = ROOT / ".build-tools/images"
MARK = b"strata was here\n"


def debian_layer() -> pathlib.Path:
    """A gzip layer of a minimal Debian root, made once for all that run tests side by side."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _debian_layer()


def _debian_layer() -> pathlib.Path:
    layer = CACHE / "debian.tar.gz"
    if not layer.exists():
        root = CACHE / "debian"
        if not (root / "etc/os-release").exists():
            subprocess.run(["rm", "-rf", root], check=True)
            mirror = subprocess.run(
                "apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -1",
                shell=True, check=True, capture_output=True, text=True,
            ).stdout.strip()
            subprocess.run(
                ["debootstrap", "--variant=minbase", "bookworm", root, mirror], check=True, stdout=subprocess.DEVNULL
            )
        excluded = ["./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*"]
        tar = ["tar", "-C", root, *[f"--exclude={e}" for e in excluded], "-cf", "-", "."]
        with open(f"{layer}.part", "wb") as out:
            packed = subprocess.Popen(tar, stdout=subprocess.PIPE)
            subprocess.run(["gzip", "-1n"], stdin=packed.stdout, stdout=out, check=True)
            assert packed.wait() == 0
        os.rename(f"{layer}.part", layer)
    return layer


def small_layer(files: dict[str, bytes]) -> bytes:
    """An uncompressed tar of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


class Layout:
    """An OCI image layout in a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.manifests = []

    def blob(self, data: bytes, media_type) -> dict:
        (self.folder / "blobs/sha256" / sha256(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}

    def image(self, tag, layers, architecture="amd64", kind="gzip"):
        """`layers` are gzip files (paths) or uncompressed tars (bytes). Returns the manifest's descriptor."""
        descriptors, diff_ids = [], []
        for layer in layers:
            if isinstance(layer, pathlib.Path):
                packed = layer.read_bytes()
                plain, media_type = gzip.decompress(packed), OCI_LAYER
            elif kind == "zstd":
                plain = layer
                packed = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
                media_type = OCI_LAYER.replace("gzip", "zstd")
            else:
                plain, packed, media_type = layer, gzip.compress(layer, mtime=0), OCI_LAYER
            diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
            descriptors.append(self.blob(packed, media_type))
        config = {
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": [{"created_by": "test"}] * len(diff_ids),
        }
        manifest = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": self.blob(json.dumps(config).encode(), OCI_CONFIG), "layers": descriptors,
        }
        described = self.blob(json.dumps(manifest).encode(), OCI_MANIFEST)
        described["platform"] = {"architecture": architecture, "os": "linux"}
        if tag:
            self.name(described, tag)
        return described

    def index(self, tag, manifests):
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        self.name(self.blob(json.dumps(body).encode(), OCI_INDEX), tag)

    def name(self, described, tag):
        self.manifests.append({**described, "annotations": {"org.opencontainers.image.ref.name": tag}})
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.folder / "index.json").write_text(json.dumps(index))
