"""The memory of what a registry acknowledged, and what all clients of test_torture.py have in common."""
import contextlib
import itertools
import json
import random
import subprocess
import threading
import time

from cluster import LOST, RETRYABLE
from harness import BINARY, sha256

# Seconds. The trash must outlast a download that began with an old URL.
LEASE, WINDOW, TRASH, URL_LIFETIME = 8, 6, 8, 3
WINDOWS = {
    "promises.lease": f"{LEASE}s", "promises.window": f"{WINDOW}s", "promises.blob-delay": "1s",
    "promises.trash": f"{TRASH}s", "uploads.session": "8s", "downloads.url-lifetime": f"{URL_LIFETIME}s",
    "downloads.longest": "3s", "downloads.redirect-from-bytes": "50000", "gc.interval": "1s", "gc.share-percent": "100", "retention.interval": "1s",
}
# A transaction promises from its beginning on, and may wait for locks before it commits.
SLACK = 2.5
# Deleters are keener above this, so that the load does not grow with the time it runs.
MOST_IMAGES = 60


class Unknown(Exception):
    """The request was lost, or answered with "try again": what became of it is not known."""


class Violation(AssertionError):
    """The registry broke its word."""


class Image:
    """A manifest in a repository, and what is known of it. Every manifest is unique; it may be pushed again."""

    def __init__(self, repository, body, media_type, blobs, children=(), subject=None):
        self.repository, self.body, self.media_type = repository, body, media_type
        self.digest = sha256(body)
        self.blobs = blobs  # digest → bytes
        self.children, self.subject = children, subject
        self.deleted_at = None  # when the last deletion was asked for
        self.state = "unsure"  # live: must be there; gone: must not
        self.lock = threading.Lock()
        # How many of each have begun or ended, and how many are under way.
        self.deletions = self.pushes = self.deleting = self.pushing = 0

    def is_live_since(self, deletions) -> bool:
        return self.state == "live" and self.deletions == deletions

    @contextlib.contextmanager
    def being_pushed(self):
        """Yields a function to call when the push was acknowledged."""
        with self.lock:
            self.pushes += 1
            self.pushing += 1
            deletions, alone, done = self.deletions, self.deleting == 0, []
            if self.state == "gone":
                self.state = "unsure"
        try:
            yield lambda: done.append(True)
        finally:
            with self.lock:
                self.pushes += 1
                self.pushing -= 1
                if done and alone and self.deletions == deletions:
                    self.state = "live"

    @contextlib.contextmanager
    def being_deleted(self):
        """Yields a function to call when the deletion was acknowledged."""
        with self.lock:
            self.state = "unsure"
            self.deleted_at = time.monotonic()
            self.deletions += 1
            self.deleting += 1
            pushes, deletions, done = self.pushes, self.deletions, []
            alone = self.pushing == 0 and self.deleting == 1
        try:
            yield lambda: done.append(True)
        finally:
            with self.lock:
                if done and alone and (self.pushes, self.deletions) == (pushes, deletions):
                    self.state = "gone"
                self.deletions += 1
                self.deleting -= 1


class World:
    """The registry's nodes, and everything that the clients know together."""

    def __init__(self, nodes, seed, repositories=4, pool=24):
        self.nodes, self.seed = nodes, seed
        self.repositories = [f"torture/r{n}" for n in range(repositories)]
        chance = random.Random(f"{seed} pool")
        sizes = itertools.cycle([100, 16_384, 16_385, 70_000, 300_000])
        self.pool = [chance.randbytes(next(sizes)) for _ in range(pool)]
        self.stop = threading.Event()
        self.failures = []
        self.lock = threading.Lock()
        self.images = []
        self.tags = {}  # (repository, tag) → (image or None, its deletions then); absent where nothing is certain
        # (repository, digest) → when a deletion of the blob ended; (repository, None) → of all; infinite while under way
        self.disturbed = {}
        self.ends = {}  # repository → how many deletions of it have begun or ended: odd while one is under way
        self.keepers = []  # those that have a repository of their own
        self.counts = {}
        self.numbers = itertools.count()

    def count(self, what, many=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + many

    def set_policy(self, scope, policy):
        node = self.nodes[0]
        command = [BINARY, "retention", "set", scope, "-", *node.options]
        done = subprocess.run(command, input=json.dumps(policy), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def count_collected(self, node):
        """Before it is killed, and forgets it."""
        for sample, value in node.metrics().items():
            if sample.startswith("strata_gc_collected_total"):
                self.count("collected " + sample.split('"')[1], int(value))

    def live_images(self, repository=None):
        with self.lock:
            known = list(self.images)
        return [i for i in known if i.state == "live" and repository in (None, i.repository)]

    def add(self, image):
        with self.lock:
            self.images.append(image)

    @contextlib.contextmanager
    def disturbing(self, repository, digest):
        """A deletion of a blob on purpose, which voids what was promised of it."""
        with self.lock:
            self.disturbed[repository, digest] = float("inf")
        try:
            yield
        finally:
            with self.lock:
                self.disturbed[repository, digest] = time.monotonic()

    def is_undisturbed(self, repository, digest, since) -> bool:
        with self.lock:
            return max(self.disturbed.get((repository, what), 0) for what in (digest, None)) < since

    def end_of(self, repository) -> int:
        with self.lock:
            return self.ends.get(repository, 0)

    @contextlib.contextmanager
    def ending(self, repository):
        """The deletion of a repository. Yields a function to call when it was acknowledged."""
        with self.lock:
            self.ends[repository] = self.ends.get(repository, 0) + 1
            images = [image for image in self.images if image.repository == repository]
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.disturbing(repository, None))
            told = [stack.enter_context(image.being_deleted()) for image in images]
            for image in images:
                image.deleted_at = float("-inf")  # by itself it cannot be put back any more
            try:
                yield lambda: [tell() for tell in told]
            finally:
                with self.lock:
                    self.ends[repository] += 1


class Actor(threading.Thread):
    """A client that does one thing after the other until it is told to stop."""

    def __init__(self, world, number):
        self.label = f"{type(self).__name__.lower()}-{number}"
        super().__init__(name=self.label)
        self.world = world
        self.random = random.Random(f"{world.seed} {self.label}")

    def run(self):
        while not self.world.stop.is_set() and not self.world.failures:
            try:
                self.step()
            except Unknown:
                self.world.count("unknown")
                time.sleep(0.05)
            except BaseException as failure:
                self.world.failures.append((self.label, failure))

    def step(self):
        raise NotImplementedError

    def send(self, method, path, body=None, headers=None, follow=True):
        try:
            node = self.random.choice(self.world.nodes)
            answer = node.request(method, path, body=body, headers=headers, follow=follow)
        except LOST as lost:
            raise Unknown from lost
        if answer.status in RETRYABLE or answer.status == 409:
            raise Unknown(answer.status)
        if answer.status >= 500:
            raise Violation(f"{method} {path}: {answer}")
        return answer

    def wait(self, seconds):
        self.world.stop.wait(seconds)

    def restore(self, repository, body):
        """Puts something back. Tags may come back with it, of which nothing is certain then."""
        headers = {"Content-Type": "application/json"}
        try:
            return self.send("POST", f"/api/v1/repositories/{repository}/-/restore", json.dumps(body).encode(), headers)
        finally:
            with self.world.lock:
                self.world.tags = {key: known for key, known in self.world.tags.items() if key[0] != repository}

    def put(self, image, tags=(), promised=None) -> bool:
        """Pushes a manifest. False if something that it lists is not there, which is checked against what was promised.

        `promised`: digest → when the request was sent whose answer promised it.
        """
        query = "?" + "&".join(f"tag={tag}" for tag in tags) if tags else ""
        path = f"/v2/{image.repository}/manifests/{image.digest}{query}"
        for tag in tags:
            self.world.tags.pop((image.repository, tag), None)
        deletions, end = image.deletions, self.world.end_of(image.repository)
        with image.being_pushed() as acknowledged:
            answer = self.send("PUT", path, image.body, {"Content-Type": image.media_type})
            if answer.status == 201 and end % 2 == 0 and self.world.end_of(image.repository) == end:
                acknowledged()
        if answer.status == 201:
            for tag in tags:
                self.world.tags[image.repository, tag] = (image, deletions)
            self.world.count("images")
            return True
        if answer.status != 404:
            raise Violation(f"PUT {path}: {answer}")
        now = time.monotonic()
        for error in answer.json()["errors"]:
            digest = error["detail"]["digest"]
            since = (promised or {}).get(digest)
            if since is None or now - since >= WINDOW - SLACK:
                continue
            child = next((c for c in image.children if c.digest == digest), None)
            is_kept = child.is_live_since(promised[digest, "deletions"]) if child else \
                self.world.is_undisturbed(image.repository, digest, since)
            if is_kept:
                raise Violation(f"{image.repository}: {digest} was promised {now - since:.2f} s ago and is not there")
        self.world.count("missing")
        return False
