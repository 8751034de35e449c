"""A push that began before its repository was deleted, and ends after: it goes to whichever repository has the name then, and
nothing of it stays for ever."""
import os
import threading

import pytest

from cluster import path_of
from faultproxy import Proxy
from harness import Server, image_manifest, sha256, wait_until
from test_collection import LARGE, quick, status

NAME = "team/app"
API = f"/api/v1/repositories/{NAME}"
DAY = 24 * 3_600_000


def count(stores, server, table):
    return int(stores.sql(server, f"SELECT count(*) FROM {table}")[0])


def tags(server):
    answer = server.request("GET", f"/v2/{NAME}/tags/list")
    return answer.json()["tags"] if answer.status == 200 else answer.codes


def wait_until_drained(server, stores, objects):
    wait_until(lambda: len(stores.objects(server)) == objects, "reclaimed")
    wait_until(lambda: status(server)["pendingObjects"] == 0, "forgotten")
    code, report = server.verify()
    assert code == 0, report


@pytest.mark.parametrize("anew", [False, True], ids=["", "made anew"])
def test_an_upload_goes_to_the_repository_that_has_the_name_when_it_ends(fresh, stores, anew):
    server = quick(fresh)
    server.push_image(NAME, "old", layers=[os.urandom(LARGE)])
    data = os.urandom(LARGE)
    location = path_of(server.request("POST", f"/v2/{NAME}/blobs/uploads/").headers["location"])
    assert server.request("PATCH", location, data[:300_000]).status == 202
    old = server.request("GET", API).json()["createdAt"]
    assert server.request("DELETE", API).status == 200
    if anew:
        server.push_image(NAME, "new", layers=[os.urandom(LARGE)])
    answer = server.request("PUT", f"{location}?digest={sha256(data)}", data[300_000:])
    assert answer.status == 201, answer
    server.push_blob(NAME, b"{}")
    assert server.push_manifest(NAME, "late", image_manifest(layers=[data])).status == 201
    assert server.request("GET", f"/v2/{NAME}/blobs/{sha256(data)}").body == data
    there = ["late", "new"] if anew else ["late"]
    assert tags(server) == there
    assert server.request("GET", API).json()["createdAt"] > old, "another repository"
    wait_until_drained(server, stores, len(there))
    assert tags(server) == there and server.request("GET", f"/v2/{NAME}/blobs/{sha256(data)}").body == data
    assert server.request("DELETE", API).status == 200
    wait_until_drained(server, stores, 0)


@pytest.mark.shared
@pytest.mark.parametrize("anew", [False, True], ids=["", "made anew"])
@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_what_is_committed_to_a_deleted_repository_is_found_and_reclaimed(fresh, stores, what, anew):
    """Its transaction knew the repository while it was there, and is in no hurry: the repository is found empty before."""
    server = quick(fresh, **{"promises.lease": "8s"})
    layer, late = os.urandom(LARGE), os.urandom(LARGE)
    server.push_image(NAME, "old", layers=[layer])
    answers = []
    with Proxy(stores.postgres.port) as proxy:
        url = server.settings["postgres.url"].replace(f"port={stores.postgres.port}", f"port={proxy.port}")
        slow_settings = {**server.settings, "postgres.url": url, "postgres.set-limits": "false", "gc.enabled": "false"}
        with Server(data=server.data, settings=slow_settings) as slow:
            location = path_of(slow.request("POST", f"/v2/{NAME}/blobs/uploads/").headers["location"])
            assert slow.request("PATCH", location, late).status == 202
            requests = {"blob": lambda: slow.request("PUT", f"{location}?digest={sha256(late)}"),
                        "manifest": lambda: slow.push_manifest(NAME, "late", image_manifest(layers=[late]))}
            if what == "manifest":
                assert requests["blob"]().status == 201
            held = proxy.fault(rb"COMMIT\0", "hold")
            push = threading.Thread(target=lambda: answers.append(requests[what]()))
            push.start()
            held.wait()
            assert server.request("DELETE", API).status == 200
            empty = "deleted_repository WHERE empty_since IS NOT NULL"
            wait_until(lambda: count(stores, server, empty) == 1, "found empty")
            if anew:
                server.push_image(NAME, "new", layers=[layer])
            held.release()
            push.join()
    assert answers[0].status == 201, answers
    assert tags(server) == (["new"] if anew else ["NAME_UNKNOWN"]), "what is late comes to no repository of a later day"
    homeless = "repo_id NOT IN (SELECT id FROM repository)"
    assert count(stores, server, f"manifest WHERE {homeless}") == (what == "manifest")
    digest = f"'\\x01{sha256(late).split(':')[1]}'"
    assert count(stores, server, f"repo_blob WHERE {homeless} AND digest = {digest}") == 1
    # It is looked at again within the hour.
    stores.sql(server, "UPDATE deleted_repository SET purge_at = 1")
    wait_until(lambda: count(stores, server, "manifest") == count(stores, server, "tag") == anew, "emptied")
    wait_until_drained(server, stores, anew)
    assert count(stores, server, "repo_blob") == 2 * anew and count(stores, server, "deleted_repository") == 1
    stores.sql(server, f"UPDATE deleted_repository SET empty_since = empty_since - {DAY}, purge_at = 1")
    wait_until(lambda: count(stores, server, "deleted_repository") == 0, "forgotten after a day")
