import itertools

import pytest

from harness import Server
from stores import PAIRS, Embedded, Shared

_names = itertools.count()


def pytest_generate_tests(metafunc):
    """Every test that needs stores runs on each pair, unless its module says EMBEDDED_ONLY or it is marked so."""
    if "stores" in metafunc.fixturenames:
        is_embedded = getattr(metafunc.module, "EMBEDDED_ONLY", False) or metafunc.definition.get_closest_marker("embedded")
        is_shared = metafunc.definition.get_closest_marker("shared")
        names = [Embedded.name] if is_embedded else [Shared.name] if is_shared else list(PAIRS)
        metafunc.parametrize("stores", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def stores(request):
    pair = PAIRS[request.param]()
    yield pair
    pair.close()


@pytest.fixture(scope="session")
def server(stores):
    """One server for all tests that do not disturb it; each test takes a repository of its own."""
    with Server(settings=stores.settings()) as running:
        yield running


@pytest.fixture
def repository():
    """A repository name that no other test uses."""
    return f"test/r{next(_names)}"


@pytest.fixture
def fresh(stores):
    """Starts servers of a test's own: fresh(**settings) → Server. All are gone when the test ends."""
    started = []

    def start(data="", **settings):
        own = {k.replace("__", ".").replace("_", "-"): v for k, v in settings.items()}
        server = Server(data=data, settings=stores.settings() | own)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.__exit__()
