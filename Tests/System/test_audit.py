"""`strata verify` notices whatever must never be so in the database."""
import json

from harness import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256

LAYER = b"\0" * 20_000
# Each breaks something more. In this order no one hides what the next one breaks.
BREAKS = [
    ("link-forgotten", "DELETE FROM gc_hint"),
    ("blob-forgotten", "DELETE FROM repo_blob WHERE id NOT IN (SELECT link_id FROM manifest_blob)"),
    ("tag-without-manifest", "UPDATE tag SET manifest_id = -1"),
    ("child-missing", "UPDATE manifest_child SET child_id = -1"),
    ("edge-without-link", "UPDATE manifest_blob SET link_id = -1 WHERE link_id = (SELECT max(link_id) FROM manifest_blob)"),
    ("link-without-blob", "UPDATE repo_blob SET size = size + 1"),
    ("blob-in-two-places", "INSERT INTO blob_inline (digest, data) SELECT digest, digest FROM blob_copy"),
    ("key-in-two-places", "INSERT INTO object_trash (skey, delete_after) SELECT skey, 0 FROM blob_copy"),
    ("blob-without-location", "DELETE FROM blob_inline"),
    ("location-without-blob", "DELETE FROM blob"),
]


def test_verify_names_whatever_is_broken(fresh, stores):
    server = fresh(gc__enabled="false")
    image = json.dumps(image_manifest(layers=[LAYER])).encode()
    server.push_image("team/app", sha256(image), layers=[LAYER])
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(image, OCI_MANIFEST)]}).encode()
    assert server.push_manifest("team/app", "v1", index, OCI_INDEX).status == 201
    server.push_blob("team/app", b"for nobody")
    assert server.stop() == 0
    assert server.verify()[0] == 0
    # A session of sqlite3 checks no foreign keys.
    unchecked = "" if stores.name == "embedded" else "SET session_replication_role = replica; "
    found = set()
    for kind, statement in BREAKS:
        assert kind not in found, f"{kind} was found before it was so"
        stores.sql(server, unchecked + statement)
        status, report = server.verify()
        found = {each["kind"] for each in report["findings"]}
        assert status == 1 and kind in found, (statement, report)
