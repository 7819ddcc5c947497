"""The drop-in for flask-jwt-extended, behind its decorators."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask_jwt_extended import JWTManager, get_jwt, get_jwt_identity, jwt_required
from tests.web.conformance import Reply, challenge_of

from keyturn import KeySetClient, TokenValidator
from keyturn.integrations import BearerGuard
from keyturn.integrations.flask_jwt_extended import register
from keyturn.testing import FakeIssuer


class Service:
    """A Flask application on flask-jwt-extended, and the issuer of its tokens. PyJWT reads the machine's clock, so everybody does."""

    def __init__(self, algorithm: str = "ES256", *, cookies: bool = False, **settings: Any) -> None:
        self.issuer = FakeIssuer("https://login.example.com", audience="api://orders", algorithm=algorithm)
        self.source = KeySetClient(self.issuer.issuer, fetcher=self.issuer.fetcher())
        guard = BearerGuard(TokenValidator(self.source, audience="api://orders"), realm="orders", **settings)
        self.app = Flask(__name__)
        if cookies:
            self.app.config |= {"JWT_TOKEN_LOCATION": ["cookies"], "JWT_COOKIE_CSRF_PROTECT": False}
        register(self.app, JWTManager(self.app), guard)

        @self.app.get("/me")
        @jwt_required()
        def me() -> dict[str, Any]:
            return {"subject": get_jwt_identity(), "issuer": get_jwt()["iss"]}

        @self.app.get("/optional")
        @jwt_required(optional=True)
        def optional() -> dict[str, Any]:
            return {"subject": get_jwt_identity()}

        self.client = self.app.test_client()

    def get(self, path: str, token: str | None) -> Reply:
        """Send *token*."""
        answer = self.client.get(path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
        return Reply(answer.status_code, list(answer.headers.items()), answer.data)


@pytest.fixture
def service() -> Service:
    """Return one."""
    return Service()


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES512", "EdDSA"])
def test_good_tokens_pass(algorithm: str) -> None:
    """Every algorithm of keyturn is served, and the view gets the claims as before."""
    service = Service(algorithm)
    reply = service.get("/me", service.issuer.token())
    assert (200, {"subject": "alice", "issuer": "https://login.example.com"}) == (reply.status, reply.json())


def test_a_rollover_costs_one_look(service: Service) -> None:
    """The first token of a new key passes, at the cost of one fetch, and old ones go on passing (R4, R10)."""
    old = service.issuer.token()
    assert 200 == service.get("/me", old).status
    service.issuer.cut_over("k2")
    service.issuer.fetches.clear()
    assert [200, 200] == [service.get("/me", token).status for token in (service.issuer.token(), old)]
    service.issuer.replace_material("k2")
    service.issuer.fetches.expect(jwks=1)


def test_tokens_without_a_kid() -> None:
    """Of several keys the one that verifies is found, although the library asks for one alone (R2)."""
    service = Service()
    service.issuer.cut_over("k2", kid=None)
    service.issuer.publish("k3", kid=None)
    service.issuer.shuffle(3)
    assert 200 == service.get("/me", service.issuer.token(headers={"kid": None})).status


@pytest.mark.parametrize(
    "bad",
    [
        {"lifetime": -3600},
        {"audience": "api://billing"},
        {"iss": "https://evil.example"},
        {"headers": {"alg": "HS256"}},
    ],
)
def test_nothing_is_fetched_for_what_cannot_pass(service: Service, bad: dict[str, Any]) -> None:
    """Issuer, audience, expiry and algorithm are judged before a key is looked up (R6): 401 with a challenge, never a 500."""
    reply = service.get("/me", service.issuer.token(**bad))
    assert (401, "orders", "invalid_token") == (reply.status, challenge_of(reply)["realm"], challenge_of(reply)["error"])
    assert ["no-store"] == reply.values("Cache-Control")
    service.issuer.fetches.expect(discovery=0, jwks=0)


def test_both_leeways_count(service: Service) -> None:
    """A token within keyturn's leeway is expired for PyJWT, and answered as the library does, unless its own leeway is set."""
    token = service.issuer.token(lifetime=-30)
    reply = service.get("/me", token)
    assert (401, {"msg": "Token has expired"}) == (reply.status, reply.json())
    service.app.config["JWT_DECODE_LEEWAY"] = 60
    assert 200 == service.get("/me", token).status


def test_forged_tokens_are_refused(service: Service) -> None:
    """A signature that no key of the issuer made is a 401, and so is one by a key that nobody publishes."""
    for token in (service.issuer.forge(), service.issuer.forge(key="k9")):
        reply = service.get("/me", token)
        assert (401, "invalid_token") == (reply.status, challenge_of(reply)["error"])


def test_an_outage_is_no_bad_token(service: Service) -> None:
    """Where nobody can know the answer is 503 with when to ask again, although an error of a key loader is a 500 by itself."""
    with service.issuer.down(document="both", retry_after=20):
        reply = service.get("/me", service.issuer.token())
    assert (503, ["20"], []) == (reply.status, reply.values("Retry-After"), reply.values("WWW-Authenticate"))


def test_needs_of_the_guard_hold() -> None:
    """What the guard asks of every request is asked here, too."""
    service = Service(scopes="orders:read")
    reply = service.get("/me", service.issuer.token())
    assert (403, "orders:read") == (reply.status, challenge_of(reply)["scope"])
    assert 200 == service.get("/me", service.issuer.token(scopes="orders:read")).status


def test_optional_tokens(service: Service) -> None:
    """Without a token an optional view is served; a bad one is refused all the same."""
    assert {"subject": None} == service.get("/optional", None).json()
    assert {"subject": "alice"} == service.get("/optional", service.issuer.token()).json()
    assert 401 == service.get("/optional", service.issuer.forge()).status


def test_what_the_library_decides_stays_its_own(service: Service) -> None:
    """What is no token, or names no algorithm that verifies, never comes to keyturn; a token without a subject is refused afterwards."""
    assert [401, 422] == [service.get("/me", None).status, service.get("/me", "nonsense").status]
    assert 422 == service.get("/me", service.issuer.token(headers={"alg": "none"})).status
    service.issuer.fetches.expect(discovery=0, jwks=0)
    assert 422 == service.get("/me", service.issuer.token(subject=None, sub=None)).status
    service.issuer.fetches.expect(jwks=1)


def test_cookies() -> None:
    """Where the library takes the token from makes no difference."""
    service = Service(cookies=True)
    service.client.set_cookie("access_token_cookie", service.issuer.token())
    assert 200 == service.client.get("/me").status_code
    service.client.set_cookie("access_token_cookie", service.issuer.forge())
    assert 401 == service.client.get("/me").status_code


def test_a_list_of_algorithms_stays() -> None:
    """Who listed the algorithms keeps the list; the others are refused by the library."""
    app = Flask(__name__)
    app.config["JWT_DECODE_ALGORITHMS"] = ["RS256"]
    issuer = FakeIssuer("https://login.example.com", audience="a")
    register(app, JWTManager(app), TokenValidator(issuer.issuer, audience="a", fetcher=issuer.fetcher()))
    assert ["RS256"] == app.config["JWT_DECODE_ALGORITHMS"]
