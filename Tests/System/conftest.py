import itertools

import pytest

from harness import Server
from stores import PAIRS

_names = itertools.count()


def pytest_generate_tests(metafunc):
    """Every test that needs stores runs on both pairs, unless it is marked to be about one of them; on SeaweedFS, only what
    is marked to run there too."""
    if "stores" in metafunc.fixturenames:
        marked = [name for name in PAIRS if metafunc.definition.get_closest_marker(name)]
        pairs = [name for name in marked if name != "seaweedfs"] or ["embedded", "shared"]
        if "seaweedfs" in marked and "shared" in pairs:
            pairs.append("seaweedfs")
        metafunc.parametrize("stores", pairs, indirect=True, scope="session")


def pytest_collection_modifyitems(items):
    """Of several workers, one runs all tests on a pair of stores, or all of a module that needs none: each is started once."""
    for item in items:
        pair = getattr(item, "callspec", None) and item.callspec.params.get("stores")
        item.add_marker(pytest.mark.xdist_group(pair or item.module.__name__))


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
