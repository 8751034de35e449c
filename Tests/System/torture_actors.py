"""The clients that test_torture.py lets loose on a registry. Each does one thing after the other, all at the same time.

A client takes promises as they are meant: what a 2xx was said of may be relied on for the window, unless somebody deleted
just that on purpose meanwhile.
"""
import http.client
import json
import time

from cluster import path_of
from harness import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, sha256
from torture import MOST_IMAGES, SLACK, URL_LIFETIME, WINDOW, Actor, Image, Unknown, Violation


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
        subject = self.random.choice(subjects) if subjects and self.random.random() < 0.1 else None
        if subject:
            extra["subject"] = descriptor(subject.body, subject.media_type)
        body = json.dumps(image_manifest(config, layers, **extra)).encode()
        image = Image(repository, body, OCI_MANIFEST, {sha256(data): data for data in [config, *layers]}, subject=subject)
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


class RepositoryDeleter(Actor):
    """Deletes a repository with all that it holds, and sometimes puts it back."""

    def step(self):
        self.wait(self.random.uniform(1, 6))
        repository = self.world.repositories[-1]
        with self.world.ending(repository) as acknowledged:
            answer = self.send("DELETE", f"/api/v1/repositories/{repository}")
            if answer.status not in (200, 404):
                raise Violation(f"DELETE of {repository}: {answer}")
            self.world.count("repositories deleted")
            if self.random.random() < 0.3:
                return self.put_back(repository)
            return acknowledged()

    def put_back(self, repository):
        self.wait(self.random.uniform(0, WINDOW * 1.5))
        answer = self.restore(repository, {})
        if answer.status not in (200, 404, 412):
            raise Violation(f"undelete of {repository}: {answer}")
        self.world.count("repositories restored" if answer.status == 200 else "repositories not restored")


class Undeleter(Actor):
    """Puts back what was deleted: for certain within the window, and later if it is still there."""

    def step(self):
        self.wait(self.random.random())
        with self.world.lock:
            gone = [image for image in self.world.images if image.state == "gone"][-20:]
        if not gone:
            return
        image = self.random.choice(gone)
        sure = time.monotonic() - image.deleted_at < WINDOW - SLACK
        before, since = (image.pushes, image.deletions, self.world.end_of(image.repository)), image.deleted_at
        for other in self.related(image):
            with other.lock:
                other.state = "unsure" if other.state == "gone" else other.state
        with image.being_pushed() as acknowledged:
            answer = self.restore(image.repository, {"reference": image.digest})
            if answer.status == 200 and before[2] == self.world.end_of(image.repository):
                acknowledged()
        after = (image.pushes - 2, image.deletions, self.world.end_of(image.repository))
        kept = all(self.world.is_undisturbed(image.repository, digest, since) for digest in image.blobs)
        if answer.status != 200 and sure and kept and before == after and time.monotonic() - since < WINDOW - SLACK:
            raise Violation(f"{image.repository}@{image.digest} was deleted a moment ago and cannot be put back: {answer}")
        self.world.count("restored" if answer.status == 200 else "not restored")

    def related(self, image):
        """What comes back with an image: what it lists, and what is about any of that."""
        with self.world.lock:
            known = [other for other in self.world.images if other.repository == image.repository]
        found, left = set(), [image]
        while left:
            one = left.pop()
            more = [other for other in known if other.subject is one or other in one.children]
            left += [other for other in more if other not in found]
            found.update(more)
        return found - {image}


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
        # A round of the rules that it had begun would be another node's in a quarter of an hour.
        self.stores.sql(node, "UPDATE job SET claimed_until = 1 WHERE claimed_until IS NOT NULL")
        node.start()
        return self.world.count("kills")


class Saboteur(Actor):
    """Breaks the registry's promises behind its back, to see whether anybody notices."""

    LIES = {
        "promises end early": ["UPDATE repo_blob SET lease_until = 0", "UPDATE gc_hint SET due_at = 0"],
        "keys are condemned early": ["UPDATE object_trash SET delete_after = 0"],
        "holds are lost": ["DELETE FROM retention_hold"],
        "rules know no platform": ["UPDATE retention_policy SET document = replace(document, 'true', 'false')"],
        "edges are lost": ["DELETE FROM manifest_blob WHERE manifest_id = (SELECT max(id) FROM manifest)"],
    }

    def __init__(self, world, number, stores, lie):
        super().__init__(world, number)
        self.stores, self.statements = stores, self.LIES[lie]

    def step(self):
        self.wait(0.5)
        for statement in self.statements:
            self.stores.sql(self.world.nodes[0], statement)
