"""Tokens of Microsoft Entra over a rollover and a restart, what the errors hint at, and settings that cannot work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.entra_documents import API, CLIENT, CLOUD, HOST, Directory, F, G, Internet, M, common, tenant, v1, v2

from keyturn import (
    ClaimError,
    ConfigurationError,
    DisallowedAlgorithmError,
    InvalidIssuerError,
    KeysUnavailableError,
    MemoryStore,
    RevokedKeyError,
    RolloverPolicy,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.issuers import entra
from keyturn.simulation.policies import NAMED
from keyturn.testing import FakeClock


def one(clock: FakeClock, *issuers: Directory, **settings: Any) -> tuple[TokenValidator, Internet]:
    """Return a validator of tenant F, and what it asks."""
    internet = Internet(*issuers)
    return entra.validator(F, audience=API, clock=clock, fetcher=internet, **settings), internet


# Rollover.


def test_a_rollover_refuses_nobody_and_costs_one_fetch() -> None:
    """Old and new key verify all the way through; the new kid is asked for once (R4, R10)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, internet = one(clock, issuer)
    assert validator.validate(issuer.access())
    internet.asked.clear()
    issuer.publish("k2", alg=None, issuer=v2(F), cloud_instance_name=CLOUD)
    assert validator.validate(issuer.access())
    issuer.promote("k2")
    assert "k2" == validator.validate(issuer.access()).key_id
    assert "k1" == validator.validate(issuer.access(key="k1")).key_id
    issuer.retire("k1")
    assert {"k1", "k2"} == {validator.validate(issuer.access(key=kid)).key_id for kid in ("k1", "k2")}
    assert [f"{HOST}/{F}/v2.0/discovery/keys"] == internet.asked


def test_a_vanished_key_serves_six_hours() -> None:
    """Entra's front ends disagree for hours: the preset's grace is that long, and no longer (R10)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, _ = one(clock, issuer)
    issuer.publish("k2", alg=None)
    assert validator.validate(issuer.access())
    issuer.withhold("k1")
    validator.client.refresh()
    clock.advance(hours=5.9)
    assert validator.validate(issuer.access())
    clock.advance(hours=0.2)
    with pytest.raises(UnknownKeyError):
        validator.validate(issuer.access())


def test_the_policy_of_the_preset() -> None:
    """Its worst case is 30 hours, 54 in an outage; the simulation's policy of that name is the same; a policy that is given wins whole."""
    assert (30 * 3600, 54 * 3600) == (entra.POLICY.longest_trust_after_removal, entra.POLICY.longest_trust_in_outage)
    assert NAMED["entra"].policy == entra.POLICY
    clock = FakeClock()
    assert entra.POLICY == one(clock)[0].client.policy == one(clock, policy=None)[0].client.policy
    own = RolloverPolicy(refresh_interval=3600)
    assert own == one(clock, policy=own)[0].client.policy


# Hints.


def test_an_unknown_key_hints_at_keys_of_the_application() -> None:
    """Without `appid` the application's own keys are not read; with it they are, from the document that the query names (U19)."""
    clock = FakeClock()
    shared = tenant(F, clock)
    own = Directory(v2(F), f"{HOST}/{F}/v2.0", key={"issuer": v2(F)}, clock=clock, query=f"appid={API}", kid="own")
    without, _ = one(clock, shared, own)
    for validate in (without.validate, lambda token: asyncio.run(without.validate_async(token))):
        with pytest.raises(UnknownKeyError) as caught:
            validate(own.access())
        assert "set `appid` to its client id" in caught.value.hint
        clock.advance(hours=1)
    validator, internet = one(clock, shared, own, appid=API)
    assert "own" == validator.validate(own.access()).key_id
    assert [f"?appid={API}"] * 2 == [url[url.index("?") :] for url in internet.asked]
    with pytest.raises(UnknownKeyError) as caught:
        validator.validate(shared.access())
    assert "appid" not in caught.value.hint


def test_an_unknown_key_of_the_other_version() -> None:
    """A token that calls itself version 1 under an issuer of version 2 is hinted at."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, _ = one(clock, issuer, appid=API)
    own = Directory(v2(F), f"{HOST}/{F}/v2.0", key={}, clock=clock, query=f"appid={API}")
    validator, _ = one(clock, own, appid=API)
    with pytest.raises(UnknownKeyError) as caught:
        validator.validate(own.forge(key="x", iss=v2(F), tid=F, ver="1.0", azp=CLIENT, scp="x"))
    assert caught.value.hint.startswith("The token is of version 1, and version 2 is expected")


def test_a_hint_that_knows_more_stays() -> None:
    """Where a key of that name is published and cannot serve this token, the error says that."""
    clock = FakeClock()
    issuer = tenant(F, clock, alg="RS256")
    validator, _ = one(clock, issuer, algorithms=["RS256", "PS256"])
    with pytest.raises(UnknownKeyError) as caught:
        validator.validate(issuer.token(headers={"alg": "PS256"}, iss=v2(F), tid=F, azp=CLIENT, scp="x"))
    assert caught.value.hint.startswith("A key of that name is published, but it")


def test_a_hint_waits_until_the_issuer_was_asked() -> None:
    """While the allowance is spent nobody knows what is published, and the error says when to come back (R5)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, _ = one(clock, issuer)
    hints = []
    for kid in ("x", "y"):
        with pytest.raises(UnknownKeyError) as caught:
            validator.validate(issuer.forge(key=kid, iss=v2(F), tid=F, azp=CLIENT, scp="x"))
        hints.append(("appid" in caught.value.hint, caught.value.retry_after))
        validator.validate(issuer.access())
    with pytest.raises(UnknownKeyError) as caught:
        validator.validate(issuer.forge(key="z", iss=v2(F), tid=F, azp=CLIENT, scp="x"))
    assert (True, None) == hints[0]
    assert "appid" not in caught.value.hint
    assert caught.value.retry_after


@pytest.mark.parametrize(
    ("issuer", "hint"),
    [
        (f"https://login.partner.microsoftonline.cn/{F}/v2.0", "The token is of the cloud in China: set `cloud`."),
        (f"https://login.microsoftonline.us/{F}/v2.0", "The token is of the US Government cloud: set `cloud`."),
        (f"https://contoso.b2clogin.com/{F}/v2.0/", "use `entra.b2c()`"),
        (f"https://{F}.ciamlogin.com/{F}/v2.0", "which has other keys for the same tenant: use the authority that issued the token"),
        (v1(F), "The token is of version 1"),
        ("https://login.example.com", ""),
        ("https://[", ""),
    ],
)
def test_a_token_of_a_sibling_authority(issuer: str, hint: str) -> None:
    """The hint names where the token belongs, at a validator and at a router; nothing is fetched."""
    clock = FakeClock()
    document = tenant(F, clock)
    validator, internet = one(clock, document)
    router = entra.router([F], audience=API, versions={2}, clock=clock, fetcher=internet)
    for judge in (validator, router):
        with pytest.raises(InvalidIssuerError) as caught:
            judge.validate(document.access(iss=issuer, ver=None))
        assert hint in caught.value.hint
        assert bool(hint) == bool(caught.value.hint)
    assert [] == internet.asked


@pytest.mark.parametrize("issuer", [1, ["x"], {}])
def test_an_issuer_that_is_no_text(issuer: Any) -> None:
    """There is nothing to hint at, and nothing breaks."""
    clock = FakeClock()
    document = tenant(F, clock)
    validator, internet = one(clock, document)
    for judge in (validator, entra.router([F], audience=API, clock=clock, fetcher=internet)):
        with pytest.raises(InvalidIssuerError) as caught:
            judge.validate(document.access(iss=issuer))
        assert not caught.value.hint
    assert [] == internet.asked


# Documents and settings.


def test_a_document_of_another_issuer() -> None:
    """The discovery document must state the template, or the tenant's issuer, as it is."""
    clock = FakeClock()
    for asked, issuer in (
        (F, Directory(v2(G), f"{HOST}/{F}/v2.0", key={}, clock=clock)),
        (entra.ANY_TENANT, Directory(v2(F), f"{HOST}/common/v2.0", key={}, clock=clock)),
    ):
        validator = entra.validator(asked, audience=API, clock=clock, fetcher=Internet(issuer))
        with pytest.raises(KeysUnavailableError, match="is of issuer"):
            validator.validate(issuer.access())


def test_a_store_keeps_keys_of_every_issuer_of_the_set() -> None:
    """After a restart keys that name the template, or personal accounts, are judged as before."""
    clock, store = FakeClock(), MemoryStore()
    issuer = common(clock)
    issuer.publish("personal", alg=None, issuer=v2(M))
    for _ in range(2):
        internet = Internet(issuer)
        validator = entra.validator(entra.ANY_TENANT, audience=API, clock=clock, fetcher=internet, store=store)
        assert validator.validate(issuer.access())
        assert validator.validate(issuer.access(M, key="personal"))
        with pytest.raises(InvalidIssuerError):
            validator.validate(issuer.access(F, key="personal"))
    assert [] == internet.asked


def test_a_remembered_token_is_read_and_judged_as_before() -> None:
    """With a cache of tokens scopes stand where Entra writes them, and a key that names another issuer from now on vouches no more."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, _ = one(clock, issuer, token_cache_size=10)
    token = issuer.access(scope="somewhere else")
    for _ in range(3):
        found = validator.validate(token)
        assert ({"orders.read", "orders.write"}, CLIENT) == (found.scopes, found.client_id)
    (entry,) = issuer.jwks()["keys"]
    issuer.retire("k1")
    issuer.add_entry({**entry, "issuer": v2(M)})
    validator.client.refresh()
    with pytest.raises(InvalidIssuerError):
        validator.validate(token)


def test_one_key_is_revoked() -> None:
    """The settings of the client reach it (R11)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, _ = one(clock, issuer)
    assert validator.validate(issuer.access())
    (key,) = validator.client.snapshot().keys
    again, _ = one(clock, issuer, revoked=[key.thumbprint], leeway=5, required_claims=["oid"], max_token_bytes=9999)
    with pytest.raises(ClaimError, match="oid"):
        again.validate(issuer.access())
    with pytest.raises(RevokedKeyError):
        again.validate(issuer.access(oid="o"))


def test_other_algorithms_are_configured() -> None:
    """RS256 alone is allowed unless somebody says otherwise."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    issuer.publish("ec", "ES256")
    validator, _ = one(clock, issuer)
    with pytest.raises(DisallowedAlgorithmError):
        validator.validate(issuer.access(key="ec"))
    wider, _ = one(clock, issuer, algorithms=["RS256", "ES256"])
    assert wider.validate(issuer.access(key="ec"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tenant": "common"}, "expected the GUID of a tenant"),
        ({"tenant": "contoso.onmicrosoft.com"}, "expected the GUID of a tenant"),
        ({"tenant": None}, "setting: tenant"),
        ({"tenant": [F]}, "setting: tenant"),
        ({"version": 3}, "setting: version"),
        ({"token_type": "at+jwt"}, "setting: token_type"),
        ({"cloud": "global"}, "setting: cloud"),
        ({"cloud": entra.CHINA, "check_cloud": True}, "settings: check_cloud, cloud"),
        ({"appid": "orders&x=y"}, "setting: appid"),
        ({"authorize_by_acl": [1]}, "setting: authorize_by_acl"),
        ({"audience": ""}, "setting: audience"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], says: str) -> None:
    """They are found at construction, and the message names them."""
    with pytest.raises(ConfigurationError, match=says):
        entra.validator(**{"tenant": F, "audience": API, **settings})


@pytest.mark.parametrize(
    "settings", [{"tenants": []}, {"tenants": ["common"]}, {"tenants": 1}, {"versions": set()}, {"versions": {3}}, {"versions": "12"}]
)
def test_settings_of_a_router_that_cannot_work(settings: dict[str, Any]) -> None:
    """Nothing said is not everything: tenants and versions are named."""
    with pytest.raises(ConfigurationError, match="setting: tenant|setting: tenants|setting: versions"):
        entra.router(**{"tenants": [F], "audience": API, **settings})


def test_any_tenant_has_to_be_said() -> None:
    """The error for a template's name says how."""
    with pytest.raises(ConfigurationError) as caught:
        entra.validator("organizations", audience=API)
    assert "entra.ANY_TENANT or entra.ANY_ORGANIZATION" in caught.value.hint
