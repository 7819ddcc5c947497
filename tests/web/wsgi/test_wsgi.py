"""The WSGI middleware, before a bare application."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from tests.web.conformance import Case, Kind, OverHttp, Reply, Subject, World, bearer, check, table
from tests.web.serving import by_wsgiref

from keyturn import ConfigurationError, KeysUnavailableError
from keyturn.integrations import BearerGuard, Needs, any_of
from keyturn.integrations.wsgi import TOKEN, BearerMiddleware

RULES = {
    "/orders": Needs(scopes="orders:read"),
    "/any": Needs(scopes=any_of("a", "b")),
    "/role": Needs(roles="admin"),
}
SEEN = ("REMOTE_USER", "AUTH_TYPE")


def bare(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Say whose token came; an application that knows WSGI and nothing else."""
    token = environ[TOKEN]
    said = {"subject": token.subject, "key": token.key_id}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]


def seen(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Say what the environ told, for public paths too."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**{name: environ.get(name) for name in SEEN}, "token": TOKEN in environ}).encode()]


def ask(app: Any, path: str, *, method: str = "GET", token: str | None = None, **environ: Any) -> Reply:
    """Call *app* with an environ, as a server would after it decoded the path; the standard's own checker watches over both sides."""
    given = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", "SCRIPT_NAME": "", **environ}
    setup_testing_defaults(given)
    if token is not None:
        given["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    started: list[Any] = []
    parts = validator(app)(given, lambda status, headers, _info=None: started.append((status, headers)) or (lambda data: None))
    body = b"".join(parts)
    parts.close()
    ((status, headers),) = started
    return Reply(int(status.split()[0]), headers, body)


@contextmanager
def on_wsgiref(guard: BearerGuard) -> Iterator[Subject]:
    """Serve it with a thread for each request."""
    with by_wsgiref(validator(BearerMiddleware(bare, guard, rules=RULES, readiness_path="/ready"))) as port:
        yield OverHttp(port)


WITHOUT = {
    "optional": "a path is public or not; there the framework's own adapter is the better place",
    "websocket": "WSGI has none",
}
KINDS = [Kind("WSGI middleware", on_wsgiref, without=WITHOUT)]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_the_middleware_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)


def test_the_environ_says_whose_token_it_is() -> None:
    """The application finds what servers write for authenticated requests (RFC 3875, sections 4.1.1 and 4.1.11)."""
    world = World()
    app = BearerMiddleware(seen, world.guard())
    assert {"REMOTE_USER": "alice", "AUTH_TYPE": "Bearer", "token": True} == ask(app, "/", token=world.issuer.token()).json()


def test_nobody_enters_under_a_name_that_was_there_before() -> None:
    """A token without a subject does not go on as the user that somebody else wrote down; nor does a public path keep a token."""
    world = World()
    app = BearerMiddleware(seen, world.guard(), rules={"/open": None})
    token = world.issuer.token(subject=None)
    assert {"REMOTE_USER": None, "AUTH_TYPE": "Bearer", "token": True} == ask(app, "/", token=token, REMOTE_USER="root").json()
    assert not ask(app, "/open", **{TOKEN: "made up"}).json()["token"]


@pytest.mark.parametrize("path", ["/open", "/open/", "/open/a/b"])
def test_a_public_path_needs_no_token(path: str) -> None:
    """What stands below a public path is public, and a bad token there is nobody's business."""
    app = BearerMiddleware(seen, World().guard(), rules={"/open": None})
    assert (200, 200) == (ask(app, path).status, ask(app, path, token="junk").status)


@pytest.mark.parametrize(
    "sent",
    [
        {"path": "/openly"},
        {"path": "/open/../me"},
        {"path": "/open//me"},
        {"path": "/open\\..\\me"},
        {"path": "/open/%2e%2e/me"},
        {"path": "/open/./../me"},
        {"path": "/open/../me", "RAW_URI": "/open%2F..%2Fme"},
        {"path": "/open/x", "RAW_URI": "/open%2Fx?a=b"},
        {"path": "/open/x", "REQUEST_URI": "/open%5cx"},
        {"path": "/open/\x00"},
    ],
)
def test_no_spelling_opens_a_door(sent: dict[str, str]) -> None:
    """A path that the application might read otherwise is never public."""
    app = BearerMiddleware(seen, World().guard(), rules={"/open": None})
    assert 401 == ask(app, **sent).status


@pytest.mark.parametrize("path", ["orders", "*", "orders/1"])
def test_a_path_without_its_slash_is_not_the_root(path: str) -> None:
    """A server may hand over `GET orders`, or cut it short by a `SCRIPT_NAME`; applications then put the slash in front (PEP 3333)."""
    app = BearerMiddleware(seen, World().guard(), rules={"/": None, **RULES})
    statuses: list[str] = []
    app({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda status, headers: statuses.append(status))
    assert statuses == ["401 Unauthorized"]
    assert 200 == ask(app, "/").status


def test_paths_are_compared_as_text() -> None:
    """A rule may name any character: the environ holds bytes in the dress of Latin-1 (PEP 3333)."""
    app = BearerMiddleware(seen, World().guard(), rules={"/münchen": None})
    assert 200 == ask(app, "/münchen".encode().decode("latin-1")).status
    assert 401 == ask(app, "/münchen").status


def test_rules_count_from_where_the_application_is_mounted() -> None:
    """The path below the mount is what rules name."""
    app = BearerMiddleware(seen, World().guard(), rules={"/open": None})
    assert 200 == ask(app, "/open", SCRIPT_NAME="/api").status
    assert 401 == ask(app, "/me", SCRIPT_NAME="/open").status


def test_a_second_token_in_the_url_is_one_too_many() -> None:
    """A token in the query string is never read, and beside another it is a fault (RFC 6750, section 2; RFC 9700, section 4.3.2)."""
    world = World()
    app = BearerMiddleware(seen, world.guard())
    token = world.issuer.token()
    assert 400 == ask(app, "/", token=token, QUERY_STRING=f"access_token={token}").status
    assert 401 == ask(app, "/", QUERY_STRING=f"access_token={token}").status


def test_an_answer_to_head_has_no_body() -> None:
    """Its header fields are those of GET (RFC 9110, section 9.3.2)."""
    app = BearerMiddleware(seen, World().guard(), readiness_path="/ready")
    for path in ("/", "/ready"):
        head, get = ask(app, path, method="HEAD"), ask(app, path)
        assert (get.status, get.headers, b"") == (head.status, head.headers, head.body)


def test_metadata_is_served_where_clients_look_for_it() -> None:
    """The document needs no token, wherever the application is mounted, and refusals name it (RFC 9728, sections 3.1 and 5.1)."""
    guard = World().guard(resource="https://api.example.com/v1", scopes="orders:read")
    app = BearerMiddleware(seen, guard)
    document = ask(app, "/.well-known/oauth-protected-resource/v1")
    assert (200, "https://api.example.com/v1") == (document.status, document.json()["resource"])
    assert document == ask(app, "/oauth-protected-resource/v1", SCRIPT_NAME="/.well-known")
    (challenge,) = ask(app, "/").values("WWW-Authenticate")
    assert 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/v1"' in challenge
    escaped = BearerMiddleware(seen, World().guard(resource="https://api.example.com/a%20b"))
    assert 200 == ask(escaped, "/.well-known/oauth-protected-resource/a b").status


def test_settings_are_checked_at_construction() -> None:
    """A rule or a path that is none is told before the first request."""
    guard = World().guard()
    with pytest.raises(ConfigurationError, match="readiness_path"):
        BearerMiddleware(seen, guard, readiness_path="ready")
    with pytest.raises(ConfigurationError, match="rules"):
        BearerMiddleware(seen, guard, rules={"open": None})


def test_errors_of_the_application_are_its_own() -> None:
    """Only the judgement is answered: what the application raises reaches the server."""

    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise KeysUnavailableError("another service is down")

    world = World()
    app = BearerMiddleware(broken, world.guard())
    with pytest.raises(KeysUnavailableError):
        app({"PATH_INFO": "/", "HTTP_AUTHORIZATION": bearer(world.issuer.token())[0][1]}, lambda *arguments: None)
