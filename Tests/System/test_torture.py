"""Everything at once, with windows of seconds, while nodes and connections are killed: nothing that was acknowledged and
not deleted is lost, and nothing that was deleted stays.

MINUTES says for how long on each pair of stores (2 by default), STRATA_SEED with which seed; the seed is printed.
"""
import os
import random
import time

import pytest

from cluster import cluster
from harness import wait_until
from torture import WINDOWS, Violation, World
from torture_actors import Deleter, Killer, Puller, Pusher, RepositoryDeleter, Saboteur, Tagger, Undeleter
from torture_keepers import KEEPERS

MINUTES = float(os.environ.get("MINUTES", "2"))
SEED = int(os.environ.get("STRATA_SEED", str(random.SystemRandom().randrange(1 << 30))))

# Who takes part, and how many of each. Whoever else changes what a registry holds belongs here.
ACTORS = [
    (Pusher, 5), (Tagger, 1), (Puller, 2), (Deleter, 1), (RepositoryDeleter, 1), (Undeleter, 1),
    *((keeper, 1) for keeper in KEEPERS),
]


def test_nothing_live_is_lost_and_nothing_dead_stays(stores):
    print(f"STRATA_SEED={SEED} MINUTES={MINUTES}")
    count = 2 if stores.name == "shared" else 1
    with cluster(count, stores.settings() | WINDOWS) as nodes:
        world = World(nodes, SEED)
        torture(world, [*actors(world), Killer(world, 0, stores)], 60 * MINUTES)
        for node in nodes:
            world.count_collected(node)
        print(stores.name, dict(sorted(world.counts.items())))
        assert not world.failures, world.failures
        check_kept(world)
        reclaim(stores, nodes, world.keepers)
        check_kept(world)
        check(world)
        assert sorted(stores.objects(nodes[0])) == published(stores, nodes[0])
        status, report = nodes[0].verify()
        assert status == 0 and report["findings"] == [], report
        many = ["images", "manifests deleted", "mounts", "pulls", "restored", "collected links", "collected blobs"]
        many += [f"kept for {keeper.label}" for keeper in world.keepers]
        rates = [*((what, 5) for what in many), ("collected manifests", 20), ("tags put back", 0)]
        for what, rate in [*rates, ("refused", 1), ("holds", 1), ("policies set", 1)]:
            assert world.counts.get(what, 0) > rate * MINUTES, f"too few {what} to mean anything"


@pytest.mark.embedded
@pytest.mark.parametrize("lie", Saboteur.LIES)
def test_whoever_breaks_a_promise_is_found_out(stores, lie):
    with cluster(1, stores.settings() | WINDOWS) as nodes:
        world = World(nodes, SEED)
        torture(world, [*actors(world), Saboteur(world, 0, stores, lie)], 60)
        assert any(isinstance(failure, Violation) for _, failure in world.failures), f"not noticed: {lie}"


def actors(world):
    return [kind(world, number) for kind, many in ACTORS for number in range(many)]


def torture(world, threads, seconds):
    """Until the time is over or something is wrong."""
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not world.failures:
        time.sleep(0.2)
    world.stop.set()
    for thread in threads:
        thread.join()


def reclaim(stores, nodes, keepers):
    """Waits until everything that nothing refers to is gone.

    What was to be done minutes later, because a killed process had claimed it or somebody else had locked it, is due now. So is
    the look at a deleted repository that is taken once more an hour later.
    """
    for node in nodes:
        node.kill()
    stores.sql(nodes[0], "UPDATE gc_hint SET due_at = 1")
    stores.sql(nodes[0], "UPDATE job SET claimed_until = 1, due_at = 1")
    for node in nodes:
        node.start()

    def tags(repository):
        return nodes[0].request("GET", f"/v2/{repository}/tags/list").json()["tags"]

    for keeper in keepers:
        keeper.finish(nodes[0].request)
    for keeper in keepers:
        wait_until(lambda: len(tags(keeper.repository)) == keeper.LEFT, f"only the last tags in {keeper.repository}", 60)

    def left():
        # Again and again: what sessions received that end only now is claimed, too.
        stores.sql(nodes[0], "UPDATE object_trash SET claimed_until = 1 WHERE claimed_until IS NOT NULL")
        stores.sql(nodes[0], "UPDATE object_trash SET delete_after = 1 WHERE attempts > 0")
        far = int((time.time() + 60) * 1000)
        stores.sql(nodes[0], f"UPDATE gc_hint SET due_at = 1 WHERE due_at > {far}")
        stores.sql(nodes[0], f"UPDATE deleted_repository SET purge_at = 1 WHERE purge_at > {far}")
        return [int(stores.sql(nodes[0], f"SELECT count(*) FROM {dead}")[0]) for dead in (
            "repo_blob WHERE id NOT IN (SELECT link_id FROM manifest_blob)",
            "blob WHERE digest NOT IN (SELECT digest FROM repo_blob)",
            "object_trash",
            "upload_session",
            "manifest WHERE repo_id NOT IN (SELECT id FROM repository)",
            let_go(keepers),
        )]

    dead = "links, blobs, keys in the trash, sessions, and manifests of deleted repositories and that a rule let go of"
    wait_until(lambda: left() == [0] * 6, f"gone: {dead}", 90)


def let_go(keepers):
    """What selects manifests from which a rule took the last name, and which nothing keeps: not even a rule. Holds are all
    released by then."""
    repositories = [keeper.repository for keeper in keepers if {"keep": "untagged"} not in keeper.RULES]
    return f"""manifest m JOIN repository r ON r.id = m.repo_id
        WHERE r.name IN ({', '.join(f"'{name}'" for name in repositories)})
        AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id)
        AND NOT EXISTS (SELECT 1 FROM manifest_child c WHERE c.child_id = m.id)
        AND NOT EXISTS (SELECT 1 FROM manifest s WHERE s.repo_id = m.repo_id AND s.digest = m.subject)"""


def check_kept(world):
    for keeper in world.keepers:
        keeper.check(world.nodes[0].request, most=None)


def published(stores, node):
    return sorted(key.lower() for key in stores.sql(node, f"SELECT {hexadecimal(stores, 'skey')} FROM blob_copy"))


def hexadecimal(stores, column):
    return f"hex({column})" if stores.name == "embedded" else f"encode({column}, 'hex')"


def check(world):
    node = world.nodes[0]
    seen = set()
    for image in world.images:
        at = f"/v2/{image.repository}"
        got = node.request("GET", f"{at}/manifests/{image.digest}")
        assert image.state != "live" or got.status == 200, ("lost", image.repository, image.digest)
        assert image.state != "gone" or got.status == 404, ("not deleted", image.repository, image.digest)
        if got.status == 200:
            assert got.body == image.body
            for digest, data in image.blobs.items():
                if (at, digest) not in seen:
                    assert node.request("GET", f"{at}/blobs/{digest}").body == data, (image.digest, digest)
                    seen.add((at, digest))
    for (repository, tag), (image, deletions) in world.tags.items():
        named = node.request("HEAD", f"/v2/{repository}/manifests/{tag}").headers.get("docker-content-digest")
        if image is None:
            assert named is None, (repository, tag, named)
        elif image.is_live_since(deletions):
            assert named == image.digest, (repository, tag, named, image.digest)
