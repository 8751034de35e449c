"""What test_torture.py lets loose on a registry: clients that do everything at the same time, each with the memory of what
was acknowledged, so that a lie is noticed at once.

A client takes promises as they are meant: what a 2xx was said of may be relied on for the window, unless somebody deleted
just that on purpose meanwhile.
"""
import contextlib
import http.client
import itertools
import json
import random
import threading
import time

from cluster import LOST, RETRYABLE, path_of
from harness import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256

# Seconds. The trash must outlast a download that began with an old URL.
LEASE, WINDOW, TRASH, URL_LIFETIME = 8, 6, 8, 3
WINDOWS = {
    "promises.lease": f"{LEASE}s", "promises.window": f"{WINDOW}s", "promises.blob-delay": "1s",
    "promises.trash": f"{TRASH}s", "uploads.session": "8s", "downloads.url-lifetime": f"{URL_LIFETIME}s",
    "downloads.longest": "3s", "downloads.redirect-from-bytes": "50000", "gc.interval": "1s", "gc.share-percent": "100",
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

    def __init__(self, repository, body, media_type, blobs, children=()):
        self.repository, self.body, self.media_type = repository, body, media_type
        self.digest = sha256(body)
        self.blobs = blobs  # digest → bytes
        self.children = children
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
        self.disturbed = {}  # (repository, digest) → when a deletion of the blob ended; infinite while one is under way
        self.counts = {}
        self.numbers = itertools.count()

    def count(self, what, many=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + many

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
        yield
        with self.lock:
            self.disturbed[repository, digest] = time.monotonic()

    def is_undisturbed(self, repository, digest, since) -> bool:
        with self.lock:
            return self.disturbed.get((repository, digest), 0) < since


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

    def put(self, image, tags=(), promised=None) -> bool:
        """Pushes a manifest. False if something that it lists is not there, which is checked against what was promised.

        `promised`: digest → when the request was sent whose answer promised it.
        """
        query = "?" + "&".join(f"tag={tag}" for tag in tags) if tags else ""
        path = f"/v2/{image.repository}/manifests/{image.digest}{query}"
        for tag in tags:
            self.world.tags.pop((image.repository, tag), None)
        deletions = image.deletions
        with image.being_pushed() as acknowledged:
            answer = self.send("PUT", path, image.body, {"Content-Type": image.media_type})
            if answer.status == 201:
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


class Pusher(Actor):
    """Pushes images as clients do: asks for each blob, mounts it, or uploads it in one of the ways there are."""

    def step(self):
        repository = self.random.choice(self.world.repositories)
        if self.random.random() < 0.15:
            return self.push_index(repository)
        config = self.random.randbytes(40) if self.random.random() < 0.5 else self.random.choice(self.world.pool[::5])
        layers = self.random.sample(self.world.pool, self.random.randrange(4))
        extra = {"annotations": {"n": f"{self.label} {next(self.world.numbers)}"}}
        subjects = self.world.live_images(repository)
        if subjects and self.random.random() < 0.1:
            subject = self.random.choice(subjects)
            extra["subject"] = descriptor(subject.body, subject.media_type)
        body = json.dumps(image_manifest(config, layers, **extra)).encode()
        image = Image(repository, body, OCI_MANIFEST, {sha256(data): data for data in [config, *layers]})
        self.push(image)

    def push(self, image):
        for _ in range(3):
            promised = {}
            for digest, data in image.blobs.items():
                promised[digest] = self.bring(image.repository, digest, data)
            self.think()
            tags = [f"{self.label}-{n}" for n in self.random.sample(range(5), self.random.randrange(3))]
            if image not in self.world.images:
                self.world.add(image)
            if self.put(image, tags, promised):
                return

    def think(self):
        """Now and then for longer than anything was promised."""
        self.wait(0 if self.random.random() < 0.85 else self.random.choice([1, WINDOW / 2, WINDOW * 1.5]))

    def push_index(self, repository):
        images = [i for i in self.world.live_images(repository) if i.media_type == OCI_MANIFEST]
        children = self.random.sample(images, min(len(images), 2))
        promised = {}
        for child in children:
            sent, deletions = time.monotonic(), child.deletions
            answer = self.send("HEAD", f"/v2/{repository}/manifests/{child.digest}")
            if answer.status != 200:
                if child.is_live_since(deletions):
                    raise Violation(f"{repository}: the live {child.digest}: {answer}")
                return
            promised |= {child.digest: sent, (child.digest, "deletions"): deletions}
        self.think()
        body = json.dumps({
            "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [descriptor(child.body, OCI_MANIFEST) for child in children],
            "annotations": {"n": f"{self.label} {next(self.world.numbers)}"},
        }).encode()
        index = Image(repository, body, OCI_INDEX, {}, children)
        self.world.add(index)
        self.put(index, [f"{self.label}-index"] if self.random.random() < 0.5 else [], promised)

    def bring(self, repository, digest, data) -> float:
        """Makes a repository hold a blob. Returns when the request was sent whose answer promised it."""
        way = self.random.choice(["ask", "ask", "mount", "mount anything", "upload"])
        sent = time.monotonic()
        at = f"/v2/{repository}/blobs/uploads/"
        if way == "ask" and self.send("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
            self.world.count("blobs that were there")
            return sent
        if way.startswith("mount"):
            source = "" if way == "mount anything" else f"&from={self.random.choice(self.world.repositories)}"
            opened = self.send("POST", f"{at}?mount={digest}{source}")
            if opened.status == 201:
                self.world.count("mounts")
                return sent
        else:
            opened = self.send("POST", at)
        location = path_of(opened.headers["location"])
        separator = "&" if "?" in location else "?"
        if self.random.random() < 0.3:
            cut = self.random.randrange(len(data))
            began = time.monotonic()
            patched = self.send("PATCH", location, data[:cut])
            if patched.status != 202:
                return self.given_up(patched, began) or self.bring(repository, digest, data)
            data = data[cut:]
            if self.random.random() < 0.2:
                self.world.count("abandoned uploads")
                return self.bring(repository, digest, self.blob(digest, data, cut))
            location = path_of(patched.headers["location"])
        sent = time.monotonic()
        answer = self.send("PUT", f"{location}{separator}digest={digest}", data)
        if answer.status == 201:
            self.world.count("uploads")
            return sent
        self.given_up(answer, sent)
        raise Unknown

    def blob(self, digest, rest, cut):
        """The whole of a blob again, from the pool or from what is left of it."""
        for data in self.world.pool:
            if sha256(data) == digest:
                return data
        raise Unknown  # its config: it is made anew next time

    def given_up(self, answer, began):
        """An upload may be refused for having taken longer than a session lives, and for nothing else."""
        if answer.status != 404 or time.monotonic() - began < 2:
            raise Violation(f"an upload of {time.monotonic() - began:.1f} s: {answer}")
        self.world.count("uploads given up")


class Tagger(Actor):
    """Moves its tags from image to image, and takes them away."""

    def step(self):
        images = self.world.live_images()
        if not images:
            return self.wait(0.1)
        image = self.random.choice(images)
        tag = f"{self.label}-{self.random.randrange(6)}"
        if self.random.random() < 0.3:
            self.world.tags.pop((image.repository, tag), None)
            answer = self.send("DELETE", f"/v2/{image.repository}/manifests/{tag}")
            if answer.status not in (202, 404):
                raise Violation(f"DELETE of the tag {tag}: {answer}")
            self.world.tags[image.repository, tag] = (None, 0)
            self.world.count("tags deleted")
        else:
            self.put(image, [tag])
        self.wait(self.random.random() * 0.1)


class Puller(Actor):
    """Pulls live images, whole; sometimes slowly, or from an address that it was given before the content was deleted."""

    def step(self):
        images = self.world.live_images()
        if not images:
            return self.wait(0.1)
        image = self.random.choice(images)
        deletions = image.deletions
        if not image.is_live_since(deletions):
            return None
        at = f"/v2/{image.repository}"
        got = self.send("GET", f"{at}/manifests/{image.digest}")
        wrong = None if got.status == 200 and got.body == image.body else f"its manifest: {got.status}"
        for digest, data in image.blobs.items():
            wrong = wrong or self.pull(f"{at}/blobs/{digest}", data)
        if wrong and image.is_live_since(deletions):
            raise Violation(f"{image.repository}@{image.digest}: {wrong}")
        self.world.count("pulls")

    def pull(self, path, data):
        """What was wrong, if anything."""
        answer = self.send("GET", path, follow=False)
        if answer.status == 307:
            was_given = time.monotonic()
            self.wait(self.random.choice([0, 0, URL_LIFETIME / 3]))
            url = answer.headers["location"]
            answer = self.fetch(url)
            if answer.status != 200 and time.monotonic() - was_given < URL_LIFETIME - 1:
                raise Violation(f"{path} was redirected, but what it led to is not there: {answer.status}")
        if answer.status != 200:
            return f"{path}: {answer.status}"
        if answer.body != data:
            raise Violation(f"{path}: other bytes than its digest says")
        return None

    @staticmethod
    def fetch(url):
        host, path = url.removeprefix("http://").split("/", 1)
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request("GET", f"/{path}")
            response = connection.getresponse()
            response.body = response.read()
            return response
        finally:
            connection.close()


class Deleter(Actor):
    """Deletes manifests, and blobs that it may."""

    def step(self):
        images = self.world.live_images()
        if images and self.random.random() < (0.9 if len(images) > MOST_IMAGES else 0.5):
            self.delete_manifest(self.random.choice(images))
        else:
            self.delete_blob(self.random.choice(self.world.repositories), self.random.choice(self.world.pool))
        if len(images) < MOST_IMAGES:
            self.wait(self.random.random() * 0.2)

    def delete_manifest(self, image):
        with image.being_deleted() as acknowledged:
            answer = self.send("DELETE", f"/v2/{image.repository}/manifests/{image.digest}")
            if answer.status not in (202, 404):
                raise Violation(f"DELETE of {image.digest}: {answer}")
            acknowledged()
        self.world.count("manifests deleted")

    def delete_blob(self, repository, data):
        with self.world.disturbing(repository, sha256(data)):
            try:
                answer = self.send("DELETE", f"/v2/{repository}/blobs/{sha256(data)}")
            except Unknown:
                self.wait(1)  # it may still be done
                raise
            if answer.status not in (202, 404, 405):
                raise Violation(f"DELETE of {sha256(data)}: {answer}")
        self.world.count("blobs deleted" if answer.status == 202 else "blobs not deleted")


class Killer(Actor):
    """kill -9 of nodes, and of their connections to the database where that is a server."""

    def __init__(self, world, number, stores):
        super().__init__(world, number)
        self.stores = stores

    def step(self):
        self.wait(self.random.uniform(0.5, 3))
        if self.random.random() < 0.5 and self.stores.end_connections(self.random.choice(self.world.nodes), self.random):
            return self.world.count("connections ended")
        node = self.random.choice(self.world.nodes)
        self.world.count_collected(node)
        node.kill()
        node.start()
        return self.world.count("kills")
