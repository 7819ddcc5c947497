"""F13-F15 and F25: whole answers that are not what they should be, and odd ones that are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.faults.harness import CASES, ONE_EACH, Case
from tests.faults.rig import DISCOVERY, JWKS, Action, Rig, answer, chunked, send
from tests.faults.rig_scene import RigScene, told_why

from keyturn import DiscoveryError, InvalidKeySetError

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
# A client that holds keys reads the discovery document with its schedule, not for a token.
every_cold_case = pytest.mark.parametrize("case", [case for case in CASES if not case.warm], ids=lambda case: case.name)

JSON = "Content-Type: application/json"
PAGE = b"<!doctype html><html><body>Sign in to continue</body></html>"
COLD = Case("trio", 1, warm=False)


def fails_as_key_set(rig: Rig, case: Case, spoil: Callable[[bytes], list[Action]]) -> str:
    """Play the row for a key set that is no key set; return what was said of it."""
    with RigScene(rig, case) as scene:
        return told_why(scene.fails(scene.spoiling(spoil, on=(JWKS,)), InvalidKeySetError))


def fails_as_discovery(rig: Rig, case: Case, spoil: Callable[[bytes], list[Action]]) -> str:
    """Play the row for a discovery document that is none; nothing in it is used."""
    with RigScene(rig, case) as scene:
        message = told_why(scene.fails(scene.spoiling(spoil, on=(DISCOVERY,)), DiscoveryError))
        assert scene.met.requests == {DISCOVERY: 1}
        return message


@every_case
def test_f13_key_set_cut_in_the_middle(rig: Rig, case: Case) -> None:
    """JSON that ends too soon, with the right length, is no key set; the keys before the cut are not used."""
    fails_as_key_set(rig, case, lambda body: answer(body[:-2], JSON))


@every_cold_case
def test_f13_discovery_cut_in_the_middle(rig: Rig, case: Case) -> None:
    """So with the discovery document."""
    fails_as_discovery(rig, case, lambda body: answer(body[:-1], JSON))


@every_case
def test_f14_html_by_its_type(rig: Rig, case: Case) -> None:
    """What is sent as HTML is refused, though its body be a key set."""
    assert "HTML" in fails_as_key_set(rig, case, lambda body: answer(body, "Content-Type: text/html; charset=utf-8"))


@one_each
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_f14_html_by_its_body(rig: Rig, case: Case, content_type: str | None) -> None:
    """HTML in the body is refused whatever the type says."""
    fields = () if content_type is None else (f"Content-Type: {content_type}",)
    assert "HTML" in fails_as_key_set(rig, case, lambda _: answer(b"\r\n " + PAGE, *fields))


@pytest.mark.parametrize("spoil", [lambda body: answer(body, "Content-Type: text/html"), lambda _: answer(PAGE, JSON)], ids=["type", "body"])
def test_f14_discovery_in_html(rig: Rig, spoil: Callable[[bytes], list[Action]]) -> None:
    """So with the discovery document."""
    assert "HTML" in fails_as_discovery(rig, COLD, spoil)


@one_each
@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/jwk-set+json; charset=utf-8", "TEXT/PLAIN", "application/octet-stream", "application/x-who-knows", None],
)
def test_f14_types_under_which_the_body_decides(rig: Rig, case: Case, content_type: str | None) -> None:
    """Under every other type, or none, a good body is good and a bad one is bad."""
    fields = () if content_type is None else (f"Content-Type: {content_type}",)
    with RigScene(rig, case) as scene:
        scene.works(scene.spoiling(lambda body: answer(body, *fields)))
    fails_as_key_set(rig, case, lambda _: answer(b"no key set", *fields))


@every_case
def test_f15_http_1_0(rig: Rig, case: Case) -> None:
    """An old server that ends its answer by closing is understood."""
    with RigScene(rig, case) as scene:
        scene.works(scene.spoiling(lambda body: answer(body, JSON, length=False, version="HTTP/1.0")))


@one_each
@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: answer(body, version="HTTP/1.0"),
        lambda body: answer(body, "Connection: keep-alive", "Keep-Alive: timeout=60"),
        lambda body: answer(body, length=False),
        lambda body: [send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), *answer(body)],
        lambda body: answer(
            chunked(body[:9], body[9:], end=b"0\r\nX-Last: y\r\n\r\n"), "Transfer-Encoding: chunked", "Trailer: X-Last", length=False
        ),
    ],
    ids=["1.0 with length", "keep-alive closed", "until the end", "1xx", "trailers"],
)
def test_f15_odd_but_whole(rig: Rig, case: Case, spoil: Callable[[bytes], list[Action]]) -> None:
    """So are connections closed in spite of keep-alive, informational answers, and trailers."""
    with RigScene(rig, case) as scene:
        scene.works(scene.spoiling(spoil))


NO_KEY_SETS = {
    "html": PAGE,
    "error": b'{"error": "server_error", "error_description": "try again"}',
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"keys"',
}


@every_case
def test_f25_error_in_json(rig: Rig, case: Case) -> None:
    """A description of an error with status 200 is no key set."""
    fails_as_key_set(rig, case, lambda _: answer(NO_KEY_SETS["error"], JSON))


@one_each
@pytest.mark.parametrize("body", NO_KEY_SETS)
def test_f25_no_key_set(rig: Rig, case: Case, body: str) -> None:
    """Neither is a page, nothing, `null`, a list or a text."""
    fails_as_key_set(rig, case, lambda _: answer(NO_KEY_SETS[body], JSON))


@pytest.mark.parametrize("body", NO_KEY_SETS)
def test_f25_no_discovery_document(rig: Rig, body: str) -> None:
    """Nor a discovery document."""
    fails_as_discovery(rig, COLD, lambda _: answer(NO_KEY_SETS[body], JSON))
