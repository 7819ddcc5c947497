"""The drop-in for Authlib, behind its resource protector in Flask."""

from __future__ import annotations

from typing import Any

import pytest
from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6750.errors import InsufficientScopeError, InvalidTokenError
from flask import Flask
from joserfc.jwk import KeySet
from tests.web.conformance import Reply, challenge_of

from keyturn import ConfigurationError, IssuerRouter, KeySetClient, TokenValidator
from keyturn.integrations import BearerGuard
from keyturn.integrations.authlib import BearerTokenValidator, KeysNotKnownError, ScopeMissingError, TokenRefusedError
from keyturn.testing import FakeIssuer

# What Authlib asks of an access token beside the general claims (RFC 9068, section 2.2).
GOOD: dict[str, Any] = {"headers": {"typ": "at+jwt"}, "client_id": "web", "jti": "1"}


class Service:
    """A Flask application behind Authlib, and the issuer of its tokens. Authlib reads the machine's clock, so everybody does."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.issuer = FakeIssuer("https://login.example.com", audience="api://orders", algorithm=algorithm)
        self.source = KeySetClient(self.issuer.issuer, fetcher=self.issuer.fetcher())
        self.validator = TokenValidator(self.source, audience="api://orders")
        self.adapter = BearerTokenValidator(BearerGuard(self.validator, realm="orders"))
        require_oauth = ResourceProtector()
        require_oauth.register_token_validator(self.adapter)
        app = Flask(__name__)

        @app.get("/me")
        @require_oauth()
        def me() -> dict[str, Any]:
            return {"subject": current_token["sub"]}

        @app.get("/orders")
        @require_oauth(["orders:read orders:list", "orders:admin"])
        def orders() -> dict[str, Any]:
            return {"subject": current_token["sub"]}

        @app.get("/group")
        @require_oauth(groups="admins")
        def group() -> dict[str, Any]:
            return {"subject": current_token["sub"]}

        self.client = app.test_client()

    def get(self, path: str, token: str) -> Reply:
        """Send *token*."""
        answer = self.client.get(path, headers={"Authorization": f"Bearer {token}"})
        return Reply(answer.status_code, list(answer.headers.items()), answer.data)

    def token(self, **members: Any) -> str:
        """Return a token that both accept."""
        return self.issuer.token(**{**GOOD, **members})


@pytest.fixture
def service() -> Service:
    """Return one."""
    return Service()


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES512", "EdDSA"])
def test_good_tokens_pass(algorithm: str) -> None:
    """Every algorithm of keyturn is served, those that joserfc does not recommend among them."""
    service = Service(algorithm)
    assert (200, {"subject": "alice"}) == (service.get("/me", service.token()).status, service.get("/me", service.token()).json())


def test_a_rollover_costs_one_look(service: Service) -> None:
    """The first token of a new key passes, at the cost of one fetch, and old ones go on passing (R4, R10)."""
    old = service.token()
    assert 200 == service.get("/me", old).status
    service.issuer.cut_over("k2")
    service.issuer.fetches.clear()
    assert [200, 200] == [service.get("/me", token).status for token in (service.token(), old)]
    service.issuer.fetches.expect(jwks=1)


@pytest.mark.parametrize("bad", [{"lifetime": -3600}, {"audience": "api://billing"}, {"iss": "https://evil.example"}, {"headers": {"alg": "none"}}])
def test_nothing_is_fetched_for_what_cannot_pass(service: Service, bad: dict[str, Any]) -> None:
    """Issuer, audience and expiry are judged before a key is looked up (R6), and the refusal is the guard's."""
    reply = service.get("/me", service.token(**bad))
    assert (401, "orders", "invalid_token") == (reply.status, challenge_of(reply)["realm"], challenge_of(reply)["error"])
    assert (["no-store"], "invalid_token") == (reply.values("Cache-Control"), reply.json()["error"])
    service.issuer.fetches.expect(discovery=0, jwks=0)


def test_an_outage_is_no_bad_token(service: Service) -> None:
    """Where nobody can know the answer is 503 with when to ask again, and no challenge."""
    with service.issuer.down(document="both", retry_after=20):
        reply = service.get("/me", service.token())
    assert (503, ["20"], []) == (reply.status, reply.values("Retry-After"), reply.values("WWW-Authenticate"))
    assert "temporarily_unavailable" == reply.json()["error"]


def test_a_missing_scope_is_told(service: Service) -> None:
    """Authlib's scope rules hold, and its refusal has a challenge that names the first alternative."""
    assert 200 == service.get("/orders", service.token(scopes="orders:list orders:read")).status
    assert 200 == service.get("/orders", service.token(scopes="orders:admin")).status
    reply = service.get("/orders", service.token(scopes="orders:read"))
    assert (403, "insufficient_scope") == (reply.status, challenge_of(reply)["error"])
    assert "orders:read orders:list" == challenge_of(reply)["scope"]


def test_rules_of_authlib_hold(service: Service) -> None:
    """What Authlib asked for before it asks for still: the claims of RFC 9068, the type, and groups."""
    for members in ({"jti": None}, {"client_id": None}, {"headers": {"typ": "JWT"}}):
        reply = service.get("/me", service.token(**members))
        assert (401, "invalid_token") == (reply.status, challenge_of(reply)["error"]), members
    assert 401 == service.get("/group", service.token(groups=["users"])).status
    assert 200 == service.get("/group", service.token(groups=["admins"])).status


def test_two_tokens_are_none(service: Service) -> None:
    """Authlib hands over whatever stands behind the scheme; more than one word is a bad request."""
    reply = service.get("/me", f"{service.token()},Bearer {service.token()}")
    assert (400, "invalid_request") == (reply.status, challenge_of(reply)["error"])


def test_errors_are_authlibs_own(service: Service) -> None:
    """Handlers for Authlib's errors stay true."""
    check = service.adapter.authenticate_token
    with pytest.raises(InvalidTokenError) as refused:
        check("nonsense")
    assert TokenRefusedError is type(refused.value)
    with pytest.raises(InsufficientScopeError) as lacking:
        BearerTokenValidator(BearerGuard(service.validator, scopes="orders:read")).authenticate_token(service.token())
    assert ScopeMissingError is type(lacking.value)
    with service.issuer.down(document="both"), pytest.raises(OAuth2Error) as unknown:
        check(service.issuer.forge(key="k9", **GOOD))
    assert KeysNotKnownError is type(unknown.value)
    assert "temporarily_unavailable" in repr(unknown.value)


def test_the_key_set_is_there(service: Service) -> None:
    """Code that asks for the keys gets them as joserfc has them, read when none is held, and an outage is a 503."""
    with service.issuer.down(document="both"), pytest.raises(KeysNotKnownError):
        BearerTokenValidator(TokenValidator(service.issuer.issuer, audience="a", fetcher=service.issuer.fetcher())).get_jwks()
    keys = service.adapter.get_jwks()
    assert isinstance(keys, KeySet)
    assert ["k1"] == [key.kid for key in keys.keys]


def test_one_issuer_alone(service: Service) -> None:
    """A router is refused at construction: its key sets must not be mixed (R15)."""
    with pytest.raises(ConfigurationError, match="setting: guard"):
        BearerTokenValidator(IssuerRouter(service.validator))
