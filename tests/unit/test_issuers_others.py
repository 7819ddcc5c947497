"""The smaller presets: for each a token as its issuer writes it that is accepted, and tokens that are refused without a request."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.unit.entra_documents import API, HOST, T2, Directory, F, Internet, v2

from keyturn import (
    ConfigurationError,
    DiscoveryError,
    InvalidIssuerError,
    InvalidKeySetError,
    KeySetClient,
    KeyturnError,
    RolloverPolicy,
    TokenValidator,
    ValidatedToken,
    issuers,
)
from keyturn.issuers import auth0, cognito, github_actions, google, keycloak, kubernetes, okta
from keyturn.issuers.settings import Settings
from keyturn.testing import FakeClock, FakeIssuer

Build = Callable[..., TokenValidator]


@dataclass
class Example:
    """One preset, with tokens.

    Attributes:
        issuer: What its discovery document says.
        build: Makes the validator.
        claims: What an accepted token has besides the general claims; None leaves one out.
        read: What of it `ValidatedToken` says.
        refused: Changes of the claims that refuse it, each with the code of the error.
        headers: What its header has besides.
    """

    issuer: str
    build: Build
    claims: Mapping[str, Any]
    read: Mapping[str, Any]
    refused: tuple[tuple[Mapping[str, Any], str], ...]
    headers: Mapping[str, Any] = field(default_factory=dict)


POOL = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_A1b2C3d4E"
REALM = "https://sso.example.com/realms/shop"
EXAMPLES = {
    "cognito access": Example(
        POOL,
        lambda **settings: cognito.validator("eu-central-1", "eu-central-1_A1b2C3d4E", audience=["1h57kf", "other"], **settings),
        {"aud": None, "client_id": "1h57kf", "token_use": "access", "scope": "orders/read orders/write", "cognito:groups": ["admins"]},
        {"audience": ("1h57kf",), "client_id": "1h57kf", "scopes": {"orders/read", "orders/write"}, "roles": {"admins"}},
        (
            ({"client_id": "stranger"}, "invalid_audience"),
            ({"client_id": None}, "missing_claim"),
            ({"client_id": ["1h57kf"]}, "invalid_audience"),
            ({"client_id": None, "aud": "1h57kf"}, "missing_claim"),
            ({"token_use": "id"}, "wrong_token_type"),
            ({"token_use": None}, "wrong_token_type"),
            ({"cognito:groups": {"admins": True}}, "invalid_claim"),
            ({"cognito:groups": [1]}, "invalid_claim"),
            ({"iss": POOL + "/"}, "invalid_issuer"),
        ),
    ),
    "cognito id": Example(
        POOL,
        lambda **settings: cognito.validator("eu-central-1", "eu-central-1_A1b2C3d4E", audience="1h57kf", token_type="id", **settings),
        {"aud": "1h57kf", "token_use": "id", "cognito:groups": ["admins"], "at_hash": "MTIzNDU2Nzg5MDEyMzQ1Ng"},
        {"audience": ("1h57kf",), "roles": {"admins"}},
        (({"token_use": "access"}, "wrong_token_type"), ({"aud": None, "client_id": "1h57kf"}, "missing_claim")),
    ),
    "keycloak": Example(
        REALM,
        lambda **settings: keycloak.validator("https://sso.example.com", "shop", audience="orders", **settings),
        {
            "aud": ["orders", "account"],
            "typ": "Bearer",
            "azp": "web",
            "scope": "profile email",
            "nonce": "n",
            "sid": "s",
            "realm_access": {"roles": ["admin"]},
            "resource_access": {"orders.api": {"roles": ["writer"]}},
        },
        {"client_id": "web", "scopes": {"profile", "email"}, "roles": {"admin"}},
        (
            ({"typ": "ID"}, "wrong_token_type"),
            ({"typ": "Refresh"}, "wrong_token_type"),
            ({"typ": None}, "wrong_token_type"),
            ({"typ": ["Bearer"]}, "wrong_token_type"),
            ({"aud": "account"}, "invalid_audience"),
            ({"realm_access": ["admin"]}, "invalid_claim"),
            ({"realm_access": {"roles": {"admin": True}}}, "invalid_claim"),
            ({"iss": "https://sso.example.com/realms/other"}, "invalid_issuer"),
        ),
    ),
    "keycloak, roles of a client": Example(
        REALM,
        lambda **settings: keycloak.validator("https://sso.example.com", "shop", audience="orders", roles_of="orders.api", **settings),
        {"aud": "orders", "typ": "Bearer", "realm_access": {"roles": ["admin"]}, "resource_access": {"orders.api": {"roles": ["writer"]}}},
        {"roles": {"writer"}, "client_id": None},
        (({"resource_access": "x"}, "invalid_claim"),),
    ),
    "keycloak id": Example(
        REALM,
        lambda **settings: keycloak.validator("https://sso.example.com", "shop", audience="web", token_type="id", **settings),
        {"aud": "web", "azp": "web", "typ": "ID", "at_hash": "MTIzNDU2Nzg5MDEyMzQ1Ng"},
        {"roles": frozenset()},
        (({"typ": "Bearer"}, "wrong_token_type"), ({"azp": "other"}, "invalid_claim")),
    ),
    "auth0": Example(
        "https://example.eu.auth0.com/",
        lambda **settings: auth0.validator("example.eu.auth0.com", audience="https://api.example.com", **settings),
        {"aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"], "azp": "web", "scope": "openid read:orders"},
        {"client_id": "web", "scopes": {"openid", "read:orders"}, "roles": frozenset()},
        (({"iss": "https://example.eu.auth0.com"}, "invalid_issuer"), ({"aud": "https://example.eu.auth0.com/userinfo"}, "invalid_audience")),
    ),
    "auth0 with rbac": Example(
        "https://example.eu.auth0.com/",
        lambda **settings: auth0.validator("example.eu.auth0.com", audience="https://api.example.com", rbac=True, **settings),
        {"aud": "https://api.example.com", "azp": "web", "scope": "openid write:orders", "permissions": ["read:orders"]},
        {"scopes": {"read:orders"}},
        (({"permissions": [None]}, "invalid_claim"),),
    ),
    "okta": Example(
        "https://example.okta.com/oauth2/default",
        lambda **settings: okta.validator("example.okta.com", audience="api://default", **settings),
        {"aud": "api://default", "cid": "0oa1", "uid": "00u1", "scp": ["orders.read", "a b"], "groups": ["Everyone"], "ver": 1},
        {"client_id": "0oa1", "scopes": {"orders.read", "a b"}, "roles": {"Everyone"}},
        (
            ({"iss": "https://example.okta.com"}, "invalid_issuer"),
            ({"aud": "https://example.okta.com"}, "invalid_audience"),
            ({"scp": 1}, "invalid_claim"),
        ),
    ),
    "okta, id token of the org": Example(
        "https://example.okta.com",
        lambda **settings: okta.validator("example.okta.com", audience="0oa1", server=None, token_type="id", **settings),
        {"aud": "0oa1", "ver": 1, "amr": ["pwd"]},
        {"audience": ("0oa1",)},
        (({"aud": ["0oa1", "other"]}, "invalid_audience"),),
    ),
    "google": Example(
        "https://accounts.google.com",
        lambda **settings: google.validator(audience="1234.apps.googleusercontent.com", **settings),
        {"iss": "accounts.google.com", "aud": "1234.apps.googleusercontent.com", "azp": "1234.apps.googleusercontent.com", "email": "a@b.test"},
        {"issuer": "accounts.google.com"},
        (({"iss": "http://accounts.google.com"}, "invalid_issuer"), ({"azp": "other"}, "invalid_claim")),
    ),
    "google, one organization": Example(
        "https://accounts.google.com",
        lambda **settings: google.validator(audience="1234", hosted_domain="example.com", **settings),
        {"aud": "1234", "hd": "example.com"},
        {"issuer": "https://accounts.google.com"},
        (({"hd": "example.org"}, "invalid_claim"), ({"hd": None}, "invalid_claim"), ({"hd": ["example.com"]}, "invalid_claim")),
    ),
    "kubernetes": Example(
        "https://kubernetes.default.svc",
        lambda **settings: kubernetes.validator(
            "https://kubernetes.default.svc",
            audience="orders",
            service_accounts=["shop/orders", "shop/web"],
            discovery_url="https://kubernetes.default.svc/.well-known/openid-configuration",
            **settings,
        ),
        {"aud": ["orders"], "sub": "system:serviceaccount:shop:web", "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web"}}},
        {"subject": "system:serviceaccount:shop:web", "client_id": None},
        (
            ({"sub": "system:serviceaccount:other:web"}, "invalid_claim"),
            ({"sub": None}, "invalid_claim"),
            ({"aud": ["https://kubernetes.default.svc"]}, "invalid_audience"),
        ),
        {"typ": None},
    ),
    "github actions": Example(
        "https://token.actions.githubusercontent.com",
        lambda **settings: github_actions.validator(audience="api://deploy", repositories="octo-org/octo-repo", owner_ids=["65"], **settings),
        {
            "aud": "api://deploy",
            "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
            "ref": "refs/heads/main",
            "repository": "octo-org/octo-repo",
            "repository_id": "74",
            "repository_owner_id": "65",
            "repository_owner": "octo-org",
        },
        {"subject": "repo:octo-org/octo-repo:ref:refs/heads/main"},
        (
            ({"repository": "octo-org/octo-repo2"}, "invalid_claim"),
            ({"repository": "Octo-Org/octo-repo"}, "invalid_claim"),
            ({"repository_owner_id": "66"}, "invalid_claim"),
            ({"repository_owner_id": 65}, "invalid_claim"),
            ({"repository_owner_id": None}, "invalid_claim"),
            ({"aud": "https://github.com/octo-org"}, "invalid_audience"),
        ),
        {"x5t": "cert"},
    ),
}
REFUSED = [(name, number) for name, example in EXAMPLES.items() for number in range(len(example.refused))]


def scene(name: str, **settings: Any) -> tuple[Example, FakeIssuer, TokenValidator]:
    """Return an example with its issuer and its validator."""
    example, clock = EXAMPLES[name], FakeClock()
    issuer = FakeIssuer(example.issuer, clock=clock, algorithm="RS256")
    return example, issuer, example.build(clock=clock, fetcher=issuer.fetcher(), **settings)


def token(example: Example, issuer: FakeIssuer, changed: Mapping[str, Any]) -> str:
    """Return a token of *example* with changed claims."""
    claims = {**example.claims, **changed}
    return issuer.token(subject=claims.pop("sub", "alice"), headers=example.headers, **claims)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_token_as_its_issuer_writes_it(name: str) -> None:
    """It is accepted with the documents where the issuer has them, and its claims are read where the issuer writes them."""
    example, issuer, validator = scene(name)
    found = validator.validate(token(example, issuer, {}))
    assert isinstance(found, ValidatedToken)
    assert dict(example.read) == {name: getattr(found, name) for name in example.read}
    issuer.fetches.expect(discovery=1, jwks=1)


@pytest.mark.parametrize(("name", "number"), REFUSED)
def test_a_token_that_differs(name: str, number: int) -> None:
    """It is refused for what differs, and no request is spent on it (R6)."""
    example, issuer, validator = scene(name)
    changed, code = example.refused[number]
    with pytest.raises(KeyturnError) as caught:
        validator.validate(token(example, issuer, changed))
    assert code == caught.value.code
    issuer.fetches.expect(discovery=0, jwks=0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rollover(name: str) -> None:
    """Every preset stands on the one client: the new key's first token is accepted."""
    example, issuer, validator = scene(name)
    assert validator.validate(token(example, issuer, {}))
    issuer.publish("k2")
    issuer.promote("k2")
    assert "k2" == validator.validate(token(example, issuer, {})).key_id
    assert RolloverPolicy() == validator.client.policy


def test_settings_reach_client_and_validator() -> None:
    """Those that every preset takes go where they belong."""
    example, issuer, validator = scene("auth0", policy=RolloverPolicy.strict(), leeway=0, required_claims=["jti"])
    assert RolloverPolicy.strict() == validator.client.policy
    with pytest.raises(KeyturnError, match="jti"):
        validator.validate(token(example, issuer, {}))


def test_a_template_is_entras_alone() -> None:
    """Elsewhere braces are text: in a document's issuer, in the issuer of a key, and in the configured name (C44, AD9)."""
    clock = FakeClock()
    for stated, key, error in ((T2, v2(F), DiscoveryError), (v2(F), T2, InvalidKeySetError)):
        issuer = Directory(stated, f"{HOST}/{F}/v2.0", key={"issuer": key}, clock=clock)
        client = KeySetClient(v2(F), discovery_url=issuer.discovery_url, fetcher=Internet(issuer), clock=clock)
        with pytest.raises(error):
            TokenValidator(client, audience=API).validate(issuer.access())
    issuer = Directory(T2, f"{HOST}/common/v2.0", key={}, clock=clock)
    client = KeySetClient(T2, discovery_url=issuer.discovery_url, fetcher=Internet(issuer), clock=clock)
    with pytest.raises(InvalidIssuerError):
        TokenValidator(client, audience=API).validate(issuer.access())


def test_service_accounts_of_a_cluster_by_key_set() -> None:
    """Where no discovery document may be read, the key set alone is, and every account is taken unless some are named."""
    clock = FakeClock()
    issuer = FakeIssuer("https://kubernetes.default.svc", clock=clock, algorithm="RS256")
    validator = kubernetes.validator("kubernetes/serviceaccount", audience="orders", jwks_url=issuer.jwks_url, fetcher=issuer.fetcher(), clock=clock)
    assert validator.validate(issuer.token(subject="system:serviceaccount:a:b", audience="orders", iss="kubernetes/serviceaccount"))
    issuer.fetches.expect(discovery=0, jwks=1)


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: cognito.validator("eu-central-1/", "pool", audience="x"), "region"),
        (lambda: cognito.validator("eu-central-1", "../pool", audience="x"), "user_pool"),
        (lambda: cognito.validator("eu-central-1", "pool", audience=[]), "audience"),
        (lambda: cognito.validator("eu-central-1", "pool", audience="x", token_type="at+jwt"), "token_type"),  # type: ignore[arg-type]
        (lambda: keycloak.validator("https://sso.example.com/", "shop", audience="x"), "url"),
        (lambda: keycloak.validator("", "shop", audience="x"), "url"),
        (lambda: keycloak.validator("https://sso.example.com", "a/b", audience="x"), "realm"),
        (lambda: keycloak.validator("https://sso.example.com", "shop", audience="x", roles_of=""), "roles_of"),
        (lambda: keycloak.validator("https://sso.example.com", "shop", audience="x", token_type="refresh"), "token_type"),  # type: ignore[arg-type]
        (lambda: auth0.validator("https://example.eu.auth0.com", audience="x"), "domain"),
        (lambda: auth0.validator("localhost", audience="x"), "domain"),
        (lambda: okta.validator("example.okta.com/", audience="x"), "domain"),
        (lambda: okta.validator("example.okta.com", audience="x", server=None), "server"),
        (lambda: okta.validator("example.okta.com", audience="x", server=""), "server"),
        (lambda: google.validator(audience="x", hosted_domain=[]), "hosted_domain"),
        (lambda: kubernetes.validator("https://k.example.com", audience="x", service_accounts=["orders"]), "service_accounts"),
        (lambda: kubernetes.validator("https://k.example.com", audience="x", service_accounts=["a/b/c"]), "service_accounts"),
        (lambda: kubernetes.validator("https://k.example.com", audience="x", service_accounts=["a:b/c"]), "service_accounts"),
        (lambda: github_actions.validator(audience="x"), "repository_ids"),
        (lambda: github_actions.validator(audience="x", repositories=[]), "repositories"),
        (lambda: github_actions.validator(audience="x", repository_ids=74), "repository_ids"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_work(build: Callable[[], TokenValidator], setting: str) -> None:
    """They are found at construction, and the message names them."""
    with pytest.raises(ConfigurationError, match=f"setting: {setting}"):
        build()


def test_every_preset_names_its_source() -> None:
    """A preset is data that somebody wrote down: its first lines say who, and its settings are all described."""
    names = sorted(path.stem for path in Path(issuers.__path__[0]).glob("[a-z]*.py"))
    assert ["adfs", "auth0", "cognito", "entra", "github_actions", "google", "keycloak", "kubernetes", "okta", "settings"] == names
    for name in (auth0, cognito, github_actions, google, keycloak, kubernetes, okta):
        assert 'ocumentation, "' in str(name.__doc__) or 'Guide, "' in str(name.__doc__)
        described = str(name.validator.__doc__)
        assert all(f"{setting}:" in described for setting in inspect.signature(name.validator).parameters)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    """The page of presets describes each function, class and constant of each preset, and the settings that all take."""
    page = (Path(__file__).parents[2] / "docs/reference/issuers.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\.\. auto(?:class|function|data):: (keyturn\.issuers\.[\w.]+?)(?:\(\))?$", page, re.MULTILINE))
    public = set()
    for path in Path(issuers.__path__[0]).glob("[a-z]*.py"):
        module = importlib.import_module(f"keyturn.issuers.{path.stem}")
        mine = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
        constants = {name for name in vars(module) if name.isupper()} - {"PLACEHOLDER"}
        public |= {f"{module.__name__}.{name}" for name in mine | constants if not name.startswith("_")}
    assert public == described
    listed = re.findall(r"^\| `(\w+)` \|", page.split("## Settings of every preset")[1].split("\n## ")[0], re.MULTILINE)
    assert sorted(Settings.__annotations__) == sorted(listed)
