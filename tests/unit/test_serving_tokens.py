"""The token endpoint of the fake issuer: the client-credentials grant (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest

from keyturn import TokenValidator, ValidatedToken
from keyturn.serving.application import Application
from keyturn.serving.control import Control
from keyturn.serving.exchange import Request
from keyturn.serving.issuer import Settings
from keyturn.serving.tokens import Client
from keyturn.testing.faults import Answer

FORM = {"host": "127.0.0.1", "content-type": "application/x-www-form-urlencoded"}
GRANT = {"grant_type": "client_credentials"}
CLIENT = Client("orders +:", "s3cret%é")


def application(client: Client | None = None) -> Application:
    """Return an application that knows one client, or takes all."""
    return Application(Control(Settings("https://issuer.test"), lifetime=600), client=client)


def ask(app: Application, form: Any, headers: dict[str, str] | None = None, *, method: str = "POST", query: str = "") -> Answer:
    """Return the answer to a token request."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    answer = app.respond(Request(method, "/token", query, {**FORM, **(headers or {})}, body))
    assert answer is not None
    return answer


def error(answer: Answer) -> tuple[int, str]:
    """Return status and reason of a refusal."""
    return answer.status, json.loads(answer.body)["error"]


def basic(name: str, secret: str) -> dict[str, str]:
    """Return an Authorization field (RFC 6749, section 2.3.1)."""
    return {"authorization": "Basic " + base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()}


def validated(app: Application, answer: Answer, audience: str = "api://test") -> ValidatedToken:
    """Return what a validator makes of the token in an answer."""
    validator = TokenValidator("https://issuer.test", audience=audience, fetcher=app.control.issuer.fetcher())
    return validator.validate(json.loads(answer.body)["access_token"])


def test_a_client_gets_a_token() -> None:
    """The answer is the one of RFC 6749, section 5.1, which no cache keeps, and the token names the client."""
    app = application()
    answer = ask(app, {**GRANT, "scope": "read write"}, basic("orders", "anything"))
    body = json.loads(answer.body)
    assert (200, "Bearer", 600, "read write") == (answer.status, body["token_type"], body["expires_in"], body["scope"])
    assert ("no-store", "no-cache") == (answer.headers["cache-control"], answer.headers["pragma"])
    token = validated(app, answer)
    assert ("orders", "orders", {"read", "write"}) == (token.subject, token.client_id, token.scopes)
    assert 600 == token.expires_at - token.issued_at


def test_each_token_is_another_one() -> None:
    """Two tokens of one second differ by their `jti`."""
    app = application()
    assert ask(app, GRANT).body != ask(app, GRANT).body


@pytest.mark.parametrize(("form", "headers"), [({}, {}), ({"client_id": "test-client"}, {}), ({}, basic("test-client", ""))])
def test_any_client_will_do(form: dict[str, str], headers: dict[str, str]) -> None:
    """Without a configured client every name and every secret are taken, and none at all."""
    app = application()
    assert "test-client" == validated(app, ask(app, {**GRANT, **form}, headers)).subject


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, basic(CLIENT.id, CLIENT.secret)),
        ({"client_id": CLIENT.id, "client_secret": CLIENT.secret}, {}),
        ({"client_id": CLIENT.id}, basic(CLIENT.id, CLIENT.secret)),
    ],
)
def test_a_configured_client_is_known_by_its_secret(form: dict[str, str], headers: dict[str, str]) -> None:
    """In the Authorization field, with every letter encoded, or in the body (RFC 6749, section 2.3.1)."""
    app = application(CLIENT)
    assert CLIENT.id == validated(app, ask(app, {**GRANT, **form}, headers)).client_id


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"client_id": CLIENT.id}, {}),
        ({"client_secret": CLIENT.secret}, {}),
        ({"client_id": CLIENT.id, "client_secret": "wrong"}, {}),
        ({}, basic("other", CLIENT.secret)),
        ({}, basic(CLIENT.id, "wrong")),
        ({}, {"authorization": "Bearer abc"}),
        ({}, {"authorization": "Basic !!!"}),
        ({}, {"authorization": "Basic " + base64.b64encode(b"no colon").decode()}),
        ({}, {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()}),
    ],
)
def test_another_client_is_not_known(form: dict[str, str], headers: dict[str, str]) -> None:
    """It gets 401 with a challenge (RFC 6749, section 5.2)."""
    answer = ask(application(CLIENT), {**GRANT, **form}, headers)
    assert (401, "invalid_client") == error(answer)
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ([("grant_type", "client_credentials")] * 2, "invalid_request"),
        ([*GRANT.items(), ("scope", "a"), ("scope", "b")], "invalid_request"),
        ({**GRANT, "scope": 'a "b"'}, "invalid_scope"),
        ({**GRANT, "scope": "a  b"}, "invalid_scope"),
        ({**GRANT, "scope": "é"}, "invalid_scope"),
        ({**GRANT, "resource": "orders"}, "invalid_target"),
        ({**GRANT, "resource": "https://a.example/#part"}, "invalid_target"),
        ({**GRANT, "resource": "https://["}, "invalid_target"),
        ({**GRANT, "scope": "a" * 2049}, "invalid_request"),
        ([*GRANT.items(), *[("x", "")] * 101], "invalid_request"),
        (b"grant_type=client_credentials&scope=%ff", "invalid_request"),
        (b"\xff", "invalid_request"),
    ],
)
def test_a_wrong_request_is_told_as_one(form: Any, code: str) -> None:
    """Each reason has the name that RFC 6749, section 5.2, and RFC 8707, section 2, give it, and no cache keeps it."""
    answer = ask(application(), form)
    assert (400, code) == error(answer)
    assert "no-store" == answer.headers["cache-control"]


def test_a_client_names_itself_once() -> None:
    """Two ways at once are refused (RFC 6749, section 2.3)."""
    assert (400, "invalid_request") == error(ask(application(), {**GRANT, "client_secret": "b"}, basic("a", "b")))
    assert (400, "invalid_request") == error(ask(application(), {**GRANT, "client_id": "b"}, basic("a", "b")))


def test_a_token_request_is_a_form_in_a_body() -> None:
    """Another method, another type or a parameter in the URL is refused."""
    app = application()
    assert (405, "POST, OPTIONS") == ((answer := ask(app, b"", method="GET")).status, answer.headers["allow"])
    assert (400, "invalid_request") == error(ask(app, b"{}", {"content-type": "application/json"}))
    assert (400, "invalid_request") == error(ask(app, GRANT, query="scope=a"))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ([], "api://test"),
        ([("audience", "api://a")], "api://a"),
        ([("resource", "https://a.example/")], "https://a.example/"),
        ([("resource", "urn:a:b")], "urn:a:b"),
        ([("audience", "api://a"), ("resource", "urn:a:b"), ("audience", "api://a")], ["api://a", "urn:a:b"]),
    ],
)
def test_a_client_says_for_whom_the_token_is(form: list[tuple[str, str]], expected: str | list[str]) -> None:
    """By `audience`, by `resource` (RFC 8707), or by several of them; otherwise it is for the issuer's audience."""
    app = application()
    answer = ask(app, [*GRANT.items(), *form])
    assert expected == validated(app, answer, "api://test" if not form else form[0][1]).claims["aud"]


def test_tokens_are_signed_by_the_key_that_signs_now() -> None:
    """A rotation shows in the next token."""
    app = application()
    app.control.act("rotate", {"kid": "k9"})
    assert "k9" == validated(app, ask(app, GRANT)).key_id


def test_tokens_are_counted() -> None:
    """The state says how many were granted; refusals are none."""
    app = application()
    ask(app, GRANT)
    ask(app, {})
    assert 1 == app.control.state()["counts"]["token"]
