"""strata import: what belongs to an image without being in it, and what registries hold besides images."""
import pytest

from harness import BUILD_CACHE_CONFIG, OCI_INDEX, build_cache, image_manifest, sha256
from test_import import assert_blob, assert_same, docker, here, imported  # noqa: F401

pytestmark = pytest.mark.embedded


def test_signatures_that_are_tags_come_with_what_they_sign(docker, here):
    old = docker()
    wanted, _ = old.push_image("app", "v1", layers=(b"first",))
    other, _ = old.push_image("app", "nightly", layers=(b"second",))
    for digest in (wanted, other):
        for suffix in ("", ".sig"):
            old.push_image("app", digest.replace(":", "-") + suffix, layers=((digest + suffix).encode(),))
    counts = imported(old, here, "--tag", "v*")
    assert counts["tagsImported"] == counts["tagsFound"] == 3
    here.start()
    name = wanted.replace(":", "-")
    assert here.request("GET", "/v2/app/tags/list").json()["tags"] == [name, f"{name}.sig", "v1"]


def test_what_is_about_signatures_comes_too(docker, here):
    """`cosign attest` makes a tag about an image, and `cosign sign` one about that."""
    old = docker()
    image, _ = old.push_image("app", "v1", layers=(b"image",))
    tags, about = ["v1"], image
    for suffix in (".att", ".sig", ".sig"):
        tags.append(about.replace(":", "-") + suffix)
        about, _ = old.push_image("app", tags[-1], layers=(tags[-1].encode(),))
    counts = imported(old, here, "--tag", "v*")
    assert counts["tagsImported"] == counts["tagsFound"] == 4
    here.start()
    assert here.request("GET", "/v2/app/tags/list").json()["tags"] == sorted(tags)


def test_a_build_cache_comes_over(docker, here):
    """An index of layers, which every registry took."""
    old = docker()
    layers = [b"first", b"second"]
    for blob in [*layers, BUILD_CACHE_CONFIG]:
        old.push_blob("app", blob)
    assert old.push_manifest("app", "cache", build_cache(layers), OCI_INDEX).status == 201
    assert imported(old, here)["blobsCopied"] == 3
    here.start()
    assert_same(old, here, "app", "cache")
    for layer in layers:
        assert_blob(here, "app", layer)
    assert here.verify()[0] == 0


def test_foreign_layers_come_over_where_the_source_has_them(docker, here):
    """As the base layers of Windows, pushed with `allow-nondistributable-artifacts`."""
    old = docker()
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    manifest = image_manifest(layers=(b"own", b"foreign and there", b"foreign"))
    for layer in manifest["layers"][1:]:
        layer |= {"mediaType": foreign, "urls": ["https://example.com/layer"]}
    for blob in (b"{}", b"own", b"foreign and there"):
        old.push_blob("app", blob)
    assert old.push_manifest("app", "v1", manifest).status == 201
    counts = imported(old, here)
    assert (counts["blobsCopied"], counts["externalBlobsCopied"], counts["blobsElsewhere"]) == (3, 1, 1)
    here.start()
    assert_same(old, here, "app", "v1")
    assert_blob(here, "app", b"foreign and there")
    assert here.request("GET", f"/v2/app/blobs/{sha256(b'foreign')}").status == 404
