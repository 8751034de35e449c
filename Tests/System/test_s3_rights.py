"""What a registry asks of a bucket is what docs/object-stores.md lists: that is enough, and each right that is missing is
named. Ceph's gateway enforces the policy that stands there."""
import json
import os
import re

import pytest

from doctor import Doctor
from harness import ROOT, Server, wait_until

pytestmark = pytest.mark.shared

# Windows of seconds, so that a test sees what takes hours.
QUICK = {
    "promises.lease": "3s", "promises.window": "2s", "promises.blob-delay": "1s", "promises.trash": "3s",
    "downloads.url-lifetime": "1s", "downloads.longest": "1s", "gc.interval": "1s", "gc.share-percent": "100",
}
# Several parts, and the rest of one.
LARGE = 20 << 20


def documented(bucket):
    """The statements of the documentation's policy, for a bucket."""
    (text,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/object-stores.md").read_text(), re.DOTALL)
    return json.loads(text.replace("example-registry", bucket))["Statement"]


RIGHTS = sorted(right for statement in documented("b") for right in statement["Action"])


class Tenant:
    """A user of the store who may do in one bucket of another user's what the documentation says, and nothing else."""

    KEY, SECRET = "tenant", "tenant-secret"

    def __init__(self, stores):
        self.s3, self.bucket = stores.s3, stores.s3.bucket()
        if '"tenant"' not in self.s3.ceph("radosgw-admin", "-n", "client.rgw.a", "user", "list"):
            self.s3.ceph("radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid=tenant", "--display-name=tenant",
                         f"--access-key={self.KEY}", f"--secret-key={self.SECRET}")
        self.settings = stores.settings() | {
            "s3.bucket": self.bucket, "s3.access-key-id": self.KEY, "s3.secret-access-key": self.SECRET,
        }
        self.allow()

    def allow(self, without=()):
        # Who makes an object may read it in spite of what is not allowed, but not of what is denied.
        both = [f"arn:aws:s3:::{self.bucket}", f"arn:aws:s3:::{self.bucket}/*"]
        denied = [{"Effect": "Deny", "Action": [right], "Resource": both} for right in without]
        who = {"Principal": {"AWS": ["arn:aws:iam:::user/tenant"]}}
        statements = [statement | who for statement in documented(self.bucket) + denied]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.s3.client().put_bucket_policy(Bucket=self.bucket, Policy=policy)


@pytest.fixture
def tenant(stores):
    return Tenant(stores)


@pytest.fixture
def doctor(tenant):
    made = Doctor(tenant.settings).migrate()
    yield made
    made.server.__exit__()


@pytest.fixture
def server(tenant):
    with Server(settings=tenant.settings | QUICK) as running:
        yield running


def begin_and_lose(server, stores):
    """What a node that is killed leaves: an upload in parts of which only the trash knows."""
    opened = server.request("POST", "/v2/team/app/blobs/uploads/").headers["location"]
    assert server.request("PATCH", opened, os.urandom(LARGE)).status == 202
    assert stores.s3.uploads(server.settings["s3.bucket"]) != []
    of_upload = "skey IN (SELECT skey FROM upload_session UNION SELECT tail_key FROM upload_session)"
    stores.sql(server, f"WITH due AS (UPDATE object_trash SET delete_after = 1 WHERE {of_upload}) DELETE FROM upload_session")


def test_the_documented_rights_are_enough(server, stores, doctor):
    assert {check["state"] for check in doctor.examine().values()} == {"ok"}
    assert server.request("GET", "/readyz").status == 200
    digest = server.push_blob("team/app", os.urandom(LARGE))
    assert server.request("HEAD", f"/v2/team/app/blobs/{digest}").status == 200
    assert server.verify()[0] == 0
    begin_and_lose(server, stores)
    wait_until(lambda: stores.s3.uploads(server.settings["s3.bucket"]) == [], "given up")
    assert "could not be deleted" not in server.log_text()


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_that_is_missing_is_named(tenant, doctor, right):
    tenant.allow(without=[right])
    found = doctor.examine()["blob store"]
    assert found["state"] == "problem" and "AccessDenied" in found["finding"] and right in found["advice"], found


def test_a_store_that_deletes_nothing_is_told_of_and_served_from(tenant, server, stores):
    digest, _ = server.push_image("team/app", "v1", layers=[os.urandom(LARGE)])
    doomed = server.push_blob("team/app", os.urandom(LARGE))
    tenant.allow(without=["s3:DeleteObject"])

    def failures_while_it_serves():
        assert server.request("GET", "/readyz").status == 200
        assert server.request("GET", f"/v2/team/app/manifests/{digest}").status == 200
        return server.metric("strata_gc_failures_total")

    wait_until(lambda: failures_while_it_serves() > 0, "failed")
    assert server.request("HEAD", f"/v2/team/app/blobs/{doomed}").status == 404 and len(stores.objects(server)) == 2
    (told,) = [line for line in server.log_text().splitlines() if "could not be deleted" in line]
    assert " warning " in told and "AccessDenied" in told, told
    tenant.allow()
    stores.sql(server, "UPDATE object_trash SET claimed_until = 1 WHERE claimed_until IS NOT NULL")
    wait_until(lambda: len(stores.objects(server)) == 1, "reclaimed")


def test_uploads_that_cannot_be_listed_are_told_of_and_not_forgotten(tenant, server, stores):
    """Their parts would stay in the store for ever: the key is kept until the right is there."""
    tenant.allow(without=["s3:ListBucketMultipartUploads"])
    begin_and_lose(server, stores)
    wait_until(lambda: server.metric("strata_gc_failures_total") > 0, "failed")
    wait_until(lambda: stores.objects(server) == [], "as far as it may, reclaimed")
    told = [line for line in server.log_text().splitlines() if "s3:ListBucketMultipartUploads" in line]
    assert len(told) == 1 and " warning " in told[0] and "AccessDenied" in told[0], server.log_text()
    left = "SELECT count(*) FROM object_trash WHERE attempts > 0"
    assert stores.sql(server, left) == ["2"]  # of the parts, and of the bytes behind the last of them
    assert len(stores.s3.uploads(tenant.bucket)) == 1
    tenant.allow()
    stores.sql(server, "UPDATE object_trash SET claimed_until = 1 WHERE claimed_until IS NOT NULL")
    wait_until(lambda: stores.sql(server, left) == ["0"] and stores.s3.uploads(tenant.bucket) == [], "reclaimed")


def test_a_registry_serves_that_cannot_list_uploads(tenant):
    """Only the collector needs it, and later."""
    tenant.allow(without=["s3:ListBucketMultipartUploads"])
    with Server(settings=tenant.settings) as server:
        assert server.request("GET", "/readyz").status == 200
        assert "s3:ListBucketMultipartUploads" in server.log_text()
