"""strata import, when the source answers oddly: what is not brought is told of, and what it says is only shown."""
import json
import subprocess
import time

import pytest

from harness import BINARY
from registries import Proxy, send
from test_import import here, imported, push_artifact, run_import  # noqa: F401

pytestmark = pytest.mark.embedded


def answering_referrers(answers):
    """A proxy's hook: what is said of the referrers of a digest, (status, headers, body), instead of what the source says."""
    def hook(handler, forward):
        path, _, page = handler.path.partition("?")
        name, _, digest = path.rpartition("/")
        if not name.endswith("/referrers") or (digest, page) not in answers:
            return False
        answer = answers[digest, page]
        send(handler, *(answer(forward) if callable(answer) else answer))
        return True

    return hook


@pytest.mark.parametrize("odd", [
    (400, {}, b"{}"), (404, {}, b"{}"), (405, {}, b"{}"), (200, {}, b"<html>"), (200, {}, b"x" * ((16 << 20) + 1)),
], ids=["400", "404", "405", "no JSON", "too large"])
def test_an_odd_answer_about_referrers_is_told_of_and_ends_nothing(fresh, here, odd):
    """The second of three images: a source that has the list for one has it for all."""
    old, about = fresh(), {}
    for tag in ("v1", "v2", "v3"):
        digest, body = old.push_image("app", tag, layers=(tag.encode(),))
        about[digest] = push_artifact(old, "app", digest, len(body), tag.encode())
    second = list(about)[1]
    with Proxy(old.port, answering_referrers({(second, ""): odd})) as proxy:
        status, report, _ = run_import(proxy.url, here, "--workers", "1")
    assert (status, [failure["reference"] for failure in report["failures"]]) == (1, [second]), report
    assert "referrers" in report["failures"][0]["reason"]
    assert report["counts"]["tagsImported"] == 3
    here.start()
    found = {subject: here.request("GET", f"/v2/app/manifests/{referrer}").status for subject, referrer in about.items()}
    assert found == {subject: 404 if subject == second else 200 for subject in about}


def test_an_odd_answer_before_all_others_is_found_out(fresh, here):
    """It looks like a source without such lists, until another subject has one: then the first is asked for again."""
    old, about, refused = fresh(), {}, []
    for tag in ("v1", "v2", "v3"):
        digest, body = old.push_image("app", tag, layers=(tag.encode(),))
        about[digest] = push_artifact(old, "app", digest, len(body), tag.encode())
    first = next(iter(about))

    def once(forward):
        refused.append(1)
        if len(refused) > 1:
            return forward()
        time.sleep(1)  # the others are asked for meanwhile
        return 404, {}, b"{}"

    with Proxy(old.port, answering_referrers({(first, ""): once})) as proxy:
        imported(proxy.url, here)
    assert len(refused) == 2
    here.start()
    assert {here.request("GET", f"/v2/app/manifests/{referrer}").status for referrer in about.values()} == {200}


@pytest.mark.parametrize("none", [404, 405])
def test_a_source_without_lists_of_referrers_is_asked_once(fresh, here, none):
    old = fresh()
    subjects = [old.push_image("app", tag, layers=(tag.encode(),))[0] for tag in ("v1", "v2", "v3")]
    with Proxy(old.port, answering_referrers({(subject, ""): (none, {}, b"404 page not found")
                                              for subject in subjects})) as proxy:
        imported(proxy.url, here, "--workers", "1")
        assert len(proxy.paths("GET", "/referrers/")) == 1


def test_the_pages_before_an_odd_one_are_kept(fresh, here):
    old = fresh()
    digest, body = old.push_image("app", "v1")
    signature = push_artifact(old, "app", digest, len(body))

    def with_another(forward):
        status, headers, body = forward()
        return status, {**headers, "Link": f'</v2/app/referrers/{digest}?page=2>; rel="next"'}, body

    answers = {(digest, ""): with_another, (digest, "page=2"): (404, {}, b"{}")}
    with Proxy(old.port, answering_referrers(answers)) as proxy:
        status, report, _ = run_import(proxy.url, here)
    assert (status, [failure["reference"] for failure in report["failures"]]) == (1, [digest]), report
    here.start()
    assert here.request("GET", f"/v2/app/manifests/{signature}").status == 200


ESCAPE = "\x1b[2J\x9b31m\x07\u202e"


def test_nothing_that_the_source_says_reaches_the_terminal_as_a_command(fresh, here):
    """Names of repositories and tags, digests of referrers and token servers are the source's words."""
    old = fresh()
    digest, body = old.push_image("app", "v1")
    push_artifact(old, "app", digest, len(body))

    def hook(handler, forward):
        status, headers, body = forward()
        body = body.replace(b'"app"]', json.dumps(["app", f"evil{ESCAPE}/name"])[1:].encode())
        if handler.path.startswith("/v2/app/tags/"):
            body = json.dumps({"name": "app", "tags": ["v1", f"evil{ESCAPE}tag"]}).encode()
        if "/referrers/" in handler.path:
            body = json.dumps({"manifests": [{"digest": f"evil{ESCAPE}digest"}]}).encode()
        headers["Content-Length"] = str(len(body))
        send(handler, status, headers, body)
        return True

    with Proxy(old.port, hook) as proxy:
        command = [BINARY, "import", "--from", proxy.url, "--data", here.data]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "3 FAILED:" in done.stdout, done
    for word in ("/name", "tag", "digest"):
        assert f"evil[2J31m{word}" in done.stdout
    assert not set(ESCAPE) - set("[2J31m") & set(done.stdout + done.stderr), done

    beyond = "\x9b31m\u202e"

    def realm(handler, forward):
        # What is no text of ASCII is all that a header can hold of it.
        send(handler, 401, {"WWW-Authenticate": f'Bearer realm="evil{beyond}"'.encode().decode("latin-1")})
        return True

    with Proxy(old.port, realm) as proxy:
        done = subprocess.run([BINARY, "import", "--from", proxy.url, "--data", here.data], capture_output=True, text=True)
    assert done.returncode == 1 and "'evil31m'" in done.stderr, done
    assert not set(beyond) - set("31m") & set(done.stdout + done.stderr), done
