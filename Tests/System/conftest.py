import itertools

import pytest

from harness import Server

_names = itertools.count()


@pytest.fixture(scope="session")
def server():
    """One server for all tests that do not disturb it; each test takes a repository of its own."""
    with Server() as running:
        yield running


@pytest.fixture
def repository():
    """A repository name that no other test uses."""
    return f"test/r{next(_names)}"


@pytest.fixture
def fresh():
    """Starts servers of a test's own: fresh(**settings) → Server. All are gone when the test ends."""
    started = []

    def start(data="", **settings):
        server = Server(data=data, settings={k.replace("__", ".").replace("_", "-"): v for k, v in settings.items()})
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.__exit__()
