"""Commands that look at a registry's stores while it does not run."""
import json
import os
import subprocess

from harness import BINARY, Server


class Doctor:
    """Commands on the stores of one server that need not run."""

    def __init__(self, settings, data=""):
        self.server = Server(data=data, settings=settings)

    def run(self, *command, clock="+0s"):
        """With a clock that is ahead."""
        faked = [] if clock == "+0s" else ["faketime", "-m", "-f", clock]
        return subprocess.run(
            [*faked, BINARY, *command, *self.server.options], capture_output=True, text=True, timeout=60,
            env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
        )

    def examine(self, clock="+0s") -> dict:
        """The checks by name, after making sure that the exit status fits them."""
        done = self.run("doctor", "--json", clock=clock)
        checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
        assert done.returncode == any(c["state"] == "problem" for c in checks.values()), done
        return checks

    def problem(self, check, *words, clock="+0s"):
        """The doctor finds a problem, and a registry does not start because of it."""
        found = self.examine(clock)[check]
        assert found["state"] == "problem" and found["advice"], found
        assert all(word in found["finding"] + found["advice"] for word in words), found
        refused = self.run("serve", "--listen", "127.0.0.1:0", clock=clock)
        assert refused.returncode == 1
        assert f"{check}: {found['finding']}" in refused.stderr, refused.stderr
        assert found["advice"] in refused.stderr
        return found

    def migrate(self):
        assert self.run("migrate").returncode == 0
        return self
