"""Where issuers write scopes, roles and the client, by name: for each a token as its issuer writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from keyturn import ClaimError, ConfigurationError, Dialect, StaticKeySet, TokenValidator, ValidatedToken, readings
from keyturn.issuers import adfs, auth0, cognito, entra, keycloak, okta
from keyturn.testing import FakeClock, FakeIssuer

CLOCK = FakeClock()
ISSUER = FakeIssuer(clock=CLOCK, audience="api://orders")
API = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "issuers.md"
NAMES = [name for name, value in vars(readings).items() if name.isupper() and isinstance(value, tuple)]


def read(dialect: Dialect | None, **claims: Any) -> ValidatedToken:
    """Return a token with these claims as *dialect* reads it."""
    source = StaticKeySet.from_jwks(ISSUER.jwks())
    return TokenValidator(source, audience="api://orders", issuer=ISSUER.issuer, clock=CLOCK, dialect=dialect).validate(ISSUER.token(**claims))


@pytest.mark.parametrize(
    ("dialect", "claims", "scopes", "roles", "client"),
    [
        (None, {"scope": "a b", "roles": ["r"], "azp": "web"}, {"a", "b"}, {"r"}, "web"),
        (None, {"scp": ["a", "b c"], "client_id": "web", "azp": "other"}, {"a", "b c"}, set(), "web"),
        (Dialect(clients=readings.CLIENT_ID), {"scope": "a", "roles": ["r"], "client_id": "web", "azp": "x"}, {"a"}, {"r"}, "web"),
        (Dialect(roles=readings.GROUPS), {"roles": ["r"], "groups": ["g"], "entitlements": ["e"]}, set(), {"g"}, None),
        (Dialect(roles=readings.ENTITLEMENTS), {"roles": ["r"], "groups": ["g"], "entitlements": ["e"]}, set(), {"e"}, None),
        (Dialect(scopes=readings.SCP, clients=readings.AZP), {"scp": "a b", "roles": ["r"], "azp": "web"}, {"a", "b"}, {"r"}, "web"),
        (Dialect(scopes=readings.SCP, clients=readings.APPID), {"scp": "a b", "appid": "web", "azp": "x"}, {"a", "b"}, set(), "web"),
        (
            Dialect(scopes=readings.SCP, roles=readings.GROUPS, clients=readings.CID),
            {"scp": ["a"], "groups": ["g"], "cid": "0oa1"},
            {"a"},
            {"g"},
            "0oa1",
        ),
        (Dialect(scopes=readings.PERMISSIONS), {"scope": "asked:for", "permissions": ["may:do"]}, {"may:do"}, set(), None),
        (Dialect(scopes=readings.SCOPE), {"scope": "asked:for", "permissions": ["may:do"]}, {"asked:for"}, set(), None),
        (Dialect(roles=readings.COGNITO_GROUPS), {"scope": "a", "cognito:groups": ["admins"]}, {"a"}, {"admins"}, None),
        (Dialect(roles=readings.KEYCLOAK_REALM_ROLES), {"realm_access": {"roles": ["admin"]}, "roles": ["x"]}, set(), {"admin"}, None),
        (Dialect(roles=readings.keycloak_client_roles("orders.api")), {"resource_access": {"orders.api": {"roles": ["w"]}}}, set(), {"w"}, None),
        (Dialect(roles=readings.keycloak_client_roles("api")), {"resource_access": {"other": {"roles": ["w"]}}}, set(), set(), None),
        (Dialect(roles=readings.KEYCLOAK_REALM_ROLES + readings.ROLES), {"roles": ["r"]}, set(), {"r"}, None),
    ],
)
def test_readings(dialect: Dialect | None, claims: dict[str, Any], scopes: set[str], roles: set[str], client: str | None) -> None:
    """Each reading finds what its issuers write and nothing else; names are never taken from two claims at once."""
    token = read(dialect, **claims)
    assert (scopes, roles, client) == (token.scopes, token.roles, token.client_id)


@pytest.mark.parametrize("name", NAMES)
def test_every_reading_is_a_setting(name: str) -> None:
    """Each can be handed to a dialect, and stands in the reference with the path it means."""
    paths = getattr(readings, name)
    assert paths == Dialect(roles=paths).roles
    where = ", then ".join("`" + ".".join(path) + "`" for path in paths)
    assert re.search(rf"^\| `{name}` \| {re.escape(where)} \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE), name


@pytest.mark.parametrize("roles", [{"roles": {"admin": True}}, {"roles": 1}, "admin"])
def test_a_value_that_cannot_be_read(roles: Any) -> None:
    """What is no text and no list of texts refuses the token: an empty set would show up as a puzzling 403."""
    with pytest.raises(ClaimError, match="realm_access"):
        read(Dialect(roles=readings.KEYCLOAK_REALM_ROLES), realm_access=roles)


@pytest.mark.parametrize("setting", ["scopes", "roles", "clients"])
@pytest.mark.parametrize("paths", ["groups", ("groups",), [("groups",)], ((),), (("groups", 1),), None])
def test_what_is_no_path(setting: str, paths: Any) -> None:
    """Text in the place of a path would be taken letter by letter, and no token would have a role: it is told at once."""
    with pytest.raises(ConfigurationError, match=f"setting: {setting}"):
        Dialect(**{setting: paths})


@pytest.mark.parametrize("client", ["", " ", None])
def test_a_client_without_a_name(client: Any) -> None:
    """Roles of no client are a mistake."""
    with pytest.raises(ConfigurationError, match="setting: client"):
        readings.keycloak_client_roles(client)


def test_the_table_of_presets() -> None:
    """The reference says what each preset reads, and the presets do."""
    section = PAGE.read_text(encoding="utf-8").split("What each preset reads:")[1].split("```")[0]
    rows = {cells[0]: cells[1:] for line in section.splitlines() if (cells := [cell.strip() for cell in line.strip("|").split("|")])[1:]}
    known = {name: getattr(readings, name) for name in NAMES} | {"keycloak_client_roles": readings.keycloak_client_roles}
    for preset, dialect in DIALECTS.items():
        name, _, variant = preset.partition(" with ")
        for cell, paths in zip(rows[name], (dialect.scopes, dialect.roles, dialect.clients), strict=True):
            usual, _, other = cell.partition(f"; with `{variant}` ") if variant else (cell.partition("; with")[0], "", "")
            assert paths == eval((other or usual).strip("`"), known), (preset, cell)  # the page's own words


def dialect_of(made: TokenValidator) -> Dialect:
    """Return the dialect of a preset's validator."""
    assert made.dialect is not None
    return made.dialect


DIALECTS = {
    "none": Dialect(),
    "`entra`, version 2": dialect_of(entra.validator(TENANT, audience=API)),
    "`entra`, version 1": dialect_of(entra.validator(TENANT, audience=API, version=1)),
    "`adfs`": dialect_of(adfs.validator("https://fs.example.com/adfs", audience="a")),
    "`okta`": dialect_of(okta.validator("example.okta.com", audience="a")),
    "`auth0`": dialect_of(auth0.validator("example.eu.auth0.com", audience="a")),
    "`auth0` with rbac=True": dialect_of(auth0.validator("example.eu.auth0.com", audience="a", rbac=True)),
    "`keycloak`": dialect_of(keycloak.validator("https://sso.example.com", "shop", audience="a")),
    '`keycloak` with roles_of="orders"': dialect_of(keycloak.validator("https://sso.example.com", "shop", audience="a", roles_of="orders")),
    "`cognito`": dialect_of(cognito.validator("eu-central-1", "eu-central-1_A1b2C3d4E", audience="a")),
}
