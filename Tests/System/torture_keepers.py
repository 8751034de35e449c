"""Clients of test_torture.py that each have a repository of their own: from its policy and its holds follows what must be
there of it at any time, whoever collects, and whatever is killed meanwhile.
"""
import json
import re
import time

from harness import OCI_MANIFEST, image_manifest, sha256
from torture import SLACK, WINDOW, Image, Unknown, Violation
from torture_actors import Pusher

JSON = {"Content-Type": "application/json"}


def last(count, by="pushed", **more):
    return [{"keep": "last", "count": count, "by": by, **more}, {"delete": "rest"}]


class Keeper(Pusher):
    """Pushes tags of which the policy keeps the last, and puts back one that it has deleted."""

    LAST = 3
    RULES = last(LAST)
    MORE = {}
    # How many tags are left when nobody acts any more.
    LEFT = LAST

    def __init__(self, world, number):
        super().__init__(world, number)
        self.repository = f"torture/{self.label}"
        self.attempts = []  # the last pushes, as many as are kept: tag, image, and whether it was acknowledged
        self.displaced = None  # the tag that was the first of them, its image, and since when it is not
        world.keepers.append(self)
        world.set_policy(f"repository/{self.repository}", {"version": 1, "rules": self.RULES, **self.MORE})

    def step(self):
        self.wait(self.random.random())
        if self.displaced and self.random.random() < 0.3:
            self.put_back(*self.displaced)
        else:
            self.push_tag(f"t{next(self.world.numbers)}", self.new_image())
        self.check(self.send)

    def new_image(self, config=None):
        """An image whose blobs are in the repository."""
        config, layers = config or self.random.randbytes(40), self.random.sample(self.world.pool, 2)
        body = json.dumps(image_manifest(config, layers)).encode()
        image = Image(self.repository, body, OCI_MANIFEST, {sha256(data): data for data in [config, *layers]})
        for digest, data in image.blobs.items():
            self.bring(self.repository, digest, data)
        return image

    def push_tag(self, tag, image):
        attempt = self.begin(tag, image)
        attempt[2] = self.put(image, [tag])
        self.world.tags.pop((self.repository, tag), None)  # a rule will delete it

    def begin(self, tag, image):
        """From now on this may be the last one."""
        attempt = [tag, image, False]
        self.attempts.append(attempt)
        for old in self.forget():
            self.displaced = (*old[:2], time.monotonic()) if old[2] else None
        return attempt

    def forget(self):
        """Removes the attempts that are not among the last. Returns them."""
        gone, self.attempts = self.attempts[:-self.LAST], self.attempts[-self.LAST:]
        return gone

    def put_back(self, tag, image, since):
        self.displaced = None
        self.wait(self.random.uniform(0, WINDOW))
        # It counts as pushed now, if it comes back.
        attempt = self.begin(tag, image)
        answer = self.restore(self.repository, {"reference": tag})
        attempt[2] = answer.status == 200
        if answer.status == 404 and time.monotonic() - since < WINDOW - SLACK:
            raise Violation(f"{self.repository}:{tag} was deleted by a rule a moment ago and cannot be put back: {answer}")
        self.world.count("tags put back" if answer.status == 200 else "tags not put back")

    def certain(self):
        """What is there: reference, image."""
        return [(tag, image) for tag, image, is_known in self.attempts if is_known]

    def check(self, send, most=4):
        """Some of what is certain, or all."""
        certain, at = self.certain(), f"/v2/{self.repository}"
        for reference, image in self.random.sample(certain, min(most or len(certain), len(certain))):
            got = send("GET", f"{at}/manifests/{reference}")
            blobs = [send("GET", f"{at}/blobs/{digest}").status for digest in image.blobs]
            if got.status != 200 or got.body != image.body or set(blobs) != {200}:
                raise Violation(f"{self.repository}:{reference} is kept: {got.status}, {blobs}")
            self.world.count(f"kept for {self.label}")

    def refused(self, method, path, body=None):
        """Asks for what a policy or a hold forbids."""
        answer = self.send(method, path, body, {"Content-Type": OCI_MANIFEST} if body else {})
        if answer.status != 403:
            raise Violation(f"{method} {path} is forbidden, but was answered {answer}")
        self.world.count("refused")

    def finish(self, send):
        """When nothing fails any more: no more is kept than the rules say."""


class VersionKeeper(Keeper):
    """Pushes versions, now and then a fix of an old one, of which the policy keeps the greatest."""

    RULES = last(Keeper.LAST, "version")

    def step(self):
        self.wait(self.random.random())
        number = next(self.world.numbers) * 10
        if self.random.random() < 0.3:
            number -= self.random.randrange(1, 9) + self.random.choice([0, 10, 100])
        # Its number is one of its own: nobody pushes to a tag twice.
        self.push_tag(f"v1.{max(number, 0)}.{next(self.world.numbers)}", self.new_image())
        self.check(self.send)

    def forget(self):
        self.attempts.sort(key=lambda attempt: [int(part) for part in re.findall(r"\d+", attempt[0])])
        return super().forget()


class PlatformKeeper(Keeper):
    """Pushes images for two platforms in no order, of each of which the policy keeps the last."""

    PLATFORMS = ["amd64", "arm64"]
    RULES = last(Keeper.LAST, perPlatform=True)
    LEFT = Keeper.LAST * len(PLATFORMS)

    def step(self):
        self.wait(self.random.random())
        platform = self.random.choice(self.PLATFORMS)
        # Small ones are rows, large ones are objects that have to be read.
        history = "x" * self.random.choice([0, 20_000])
        config = {"os": "linux", "architecture": platform, "n": next(self.world.numbers), "history": [history]}
        self.push_tag(f"{platform}-{next(self.world.numbers)}", self.new_image(json.dumps(config).encode()))
        self.check(self.send)

    def forget(self):
        by_platform = [[a for a in self.attempts if a[0].startswith(platform)] for platform in self.PLATFORMS]
        self.attempts = [attempt for some in by_platform for attempt in some[-self.LAST:]]
        return [attempt for some in by_platform for attempt in some[:-self.LAST]]


class UntaggedKeeper(Keeper):
    """Pushes tags that a rule takes away again from manifests that another one keeps; deletes these itself."""

    LAST = LEFT = 1
    RULES = [*last(LAST), {"keep": "untagged"}]
    MOST = 12

    def __init__(self, world, number):
        super().__init__(world, number)
        self.untagged = []

    def step(self):
        self.wait(self.random.random())
        image = self.new_image()
        self.push_tag(f"t{next(self.world.numbers)}", image)
        if self.attempts[-1][2]:
            self.untagged.append((image.digest, image))
        self.check(self.send)
        if len(self.untagged) > self.MOST:
            digest, _ = self.untagged.pop(0)
            self.send("DELETE", f"/v2/{self.repository}/manifests/{digest}")

    def certain(self):
        return super().certain() + self.untagged


class ImmutableKeeper(Keeper):
    """Pushes tags that nobody may move or delete, but the rule for all that are not the last."""

    MORE = {"immutable": ["t*"]}

    def step(self):
        super().step()
        certain = self.certain()
        if certain:
            tag, _ = self.random.choice(certain)
            path = f"/v2/{self.repository}/manifests/{tag}"
            self.refused("PUT", path, self.new_image().body)
            self.refused("DELETE", path)


class Holder(Keeper):
    """Puts holds on tags that rules would delete, and releases them."""

    LAST = LEFT = 1
    RULES = last(LAST)
    MOST = 4

    def __init__(self, world, number):
        super().__init__(world, number)
        self.held = []  # the hold's number, tag, image, kind

    def step(self):
        self.wait(self.random.random())
        image = self.new_image()
        tag = f"t{next(self.world.numbers)}"
        self.push_tag(tag, image)
        self.wait(self.random.random() * 2)  # until it is perhaps gone
        self.hold(tag, image)
        self.check(self.send)
        if self.held:
            _, tag, _, kind = self.random.choice(self.held)
            path = f"/v2/{self.repository}/manifests/{tag}"
            self.refused("DELETE", path)
            if kind == "legal":
                self.refused("PUT", path, self.new_image().body)
        if len(self.held) > self.MOST:
            number = self.held.pop(0)[0]
            self.send("DELETE", f"{self.holds}/{number}")

    @property
    def holds(self):
        return f"/api/v1/repositories/{self.repository}/-/holds"

    def hold(self, tag, image):
        """What is there once it is held, stays."""
        subject, kind = self.random.choice([tag, image.digest, f"*{tag}"]), self.random.choice(["legal", "in-use"])
        hold = {"subject": subject, "kind": kind, "reason": self.label}
        answer = self.send("POST", self.holds, json.dumps(hold).encode(), JSON)
        if answer.status == 404:
            return self.world.count("came too late")  # no manifest of this digest is there any more
        if answer.status != 200:
            raise Violation(f"a hold on {subject}: {answer}")
        try:
            got = self.send("GET", f"/v2/{self.repository}/manifests/{tag}")
        except Unknown:
            got = None
        if got and got.status == 200:
            self.held.append((answer.json()["id"], tag, image, kind))
        else:
            self.send("DELETE", f"{self.holds}/{answer.json()['id']}")
        self.world.count("holds")

    def certain(self):
        return super().certain() + [(tag, image) for _, tag, image, _ in self.held]

    def finish(self, send):
        self.held = []
        for hold in send("GET", f"{self.holds}?n=1000").json()["items"]:
            assert send("DELETE", f"{self.holds}/{hold['id']}").status == 204


class Changer(Keeper):
    """Has a policy now that keeps all, and then one that does not. What is there once the first is set, stays."""

    LAST = LEFT = 1
    RULES = last(LAST)

    def __init__(self, world, number):
        super().__init__(world, number)
        self.pushed = {}  # tag → image
        self.safe = {}

    def step(self):
        self.safe = {}
        self.set(self.RULES, self.send)
        for _ in range(self.random.randrange(1, 4)):
            self.push_known(self.random.random())
        self.set([{"keep": "always"}], self.send)
        listed = self.send("GET", f"/v2/{self.repository}/tags/list?n=1000").json().get("tags") or []
        self.pushed = {tag: image for tag, image in self.pushed.items() if tag in listed}
        self.safe = dict(self.pushed)
        for _ in range(self.random.randrange(1, 4)):
            self.check(self.send)
            self.safe |= self.push_known(self.random.random())
        self.check(self.send)

    def push_known(self, pause):
        """Returns what was acknowledged."""
        self.wait(pause)
        tag, image = f"t{next(self.world.numbers)}", self.new_image()
        self.pushed[tag] = image
        self.push_tag(tag, image)
        return {tag: image} if self.attempts[-1][2] else {}

    def set(self, rules, send):
        policy = json.dumps({"version": 1, "rules": rules}).encode()
        answer = send("PUT", f"/api/v1/retention/policies/repository/{self.repository}", policy, JSON)
        if answer.status != 200:
            raise Violation(f"the policy of {self.repository}: {answer}")
        self.world.count("policies set")

    def certain(self):
        return list(self.safe.items())

    def finish(self, send):
        self.safe = {}
        self.set(self.RULES, send)


KEEPERS = [Keeper, VersionKeeper, PlatformKeeper, UntaggedKeeper, ImmutableKeeper, Holder, Changer]
