"""Tokens of Microsoft Entra: whose are accepted, which kinds, and what is fetched for them."""

from __future__ import annotations

import asyncio
import random
import uuid
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.entra_documents import API, CLIENT, CLOUD, HOST, Directory, F, G, Internet, M, common, tenant, v1, v2

from keyturn import (
    ClaimError,
    CloudMismatch,
    Event,
    GraphTokenError,
    InvalidIssuerError,
    InvalidSignatureError,
    IssuerRouter,
    TokenTypeError,
    TokenValidator,
    UnknownKeyError,
)
from keyturn.issuers import entra
from keyturn.testing import FakeClock

GRAPH = "00000003-0000-0000-c000-000000000000"


def one(clock: FakeClock, *issuers: Directory, **settings: Any) -> tuple[TokenValidator, Internet]:
    """Return a validator of tenant F, and what it asks."""
    internet = Internet(*issuers)
    return entra.validator(F, audience=API, clock=clock, fetcher=internet, **settings), internet


def told(validator: TokenValidator) -> None:
    """Wait until every event was delivered."""
    validator.client._keeper.deliver.finish(20)


# Whose tokens.


def test_one_tenant() -> None:
    """Its tokens are accepted, those of another are refused without a request, and both documents are read once."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, internet = one(clock, issuer)
    with pytest.raises(InvalidIssuerError, match="setting: issuer") as caught:
        validator.validate(issuer.access(G))
    assert f'The token is of tenant "{G}", and "{F}" is configured.' == caught.value.hint
    assert [] == internet.asked
    assert "alice" == validator.validate(issuer.access()).subject
    assert [f"{HOST}/{F}/v2.0/.well-known/openid-configuration", f"{HOST}/{F}/v2.0/discovery/keys"] == internet.asked


@pytest.mark.parametrize("version", [1, 2])
def test_the_tenant_of_the_claim_is_that_of_the_issuer(version: int) -> None:
    """An issuer that is configured as it stands does not make `tid` a matter of taste."""
    clock = FakeClock()
    issuer = tenant(F, clock, version=version)
    validator, internet = one(clock, issuer, version=version)
    with pytest.raises(InvalidIssuerError, match="expected that of the tenant in the claim tid"):
        validator.validate(issuer.access(F, version=version, tid=G))
    assert [] == internet.asked
    assert validator.validate(issuer.access(F, version=version))


def test_storm_0558_another_key_under_the_same_kid() -> None:
    """What a key of personal accounts signed is not let in by a key of the tenant's that has the same kid and verified nothing (V16)."""
    clock = FakeClock()
    personal, own = common(clock, issuer=v2(M)), common(clock)
    personal.add_entry(own.jwks()["keys"][0])
    validator = entra.validator(entra.ANY_TENANT, audience=API, clock=clock, fetcher=Internet(personal))
    for _ in range(2):
        for token in (personal.access(F), personal.token(headers={"kid": None}, iss=v2(F), tid=F, azp=CLIENT, scp="x")):
            with pytest.raises(InvalidIssuerError, match="is published for"):
                validator.validate(token)
        assert validator.validate(own.access(F))
        assert validator.validate(personal.access(M))


@pytest.mark.parametrize("named", [v2(F), "https://login.microsoftonline.com/{tenantid}/v2.0", None, " "])
def test_keys_of_one_tenant_may_name_it_in_both_ways(named: str | None) -> None:
    """A tenant's document may fill the tenant in, leave the placeholder, or say nothing."""
    clock = FakeClock()
    issuer = tenant(F, clock, issuer=named)
    validator, _ = one(clock, issuer)
    assert validator.validate(issuer.access())


def test_storm_0558_a_key_of_another_tenant() -> None:
    """A key in the tenant's own document that names another tenant vouches for nobody here (V16)."""
    clock = FakeClock()
    issuer = tenant(F, clock, issuer=v2(M))
    validator, _ = one(clock, issuer)
    with pytest.raises(InvalidIssuerError, match="is published for"):
        validator.validate(issuer.access())
    with pytest.raises(InvalidIssuerError):
        asyncio.run(validator.validate_async(issuer.access()))


def test_storm_0558_a_key_of_another_cloud() -> None:
    """With `check_cloud` a key of another cloud vouches for nobody here, for held keys too (V16)."""
    clock = FakeClock()
    issuer = tenant(F, clock, cloud_instance_name="microsoftonline.us")
    validator, _ = one(clock, issuer, check_cloud=True)
    for _ in range(2):
        with pytest.raises(InvalidIssuerError, match="setting: check_cloud"):
            validator.validate(issuer.access())


def test_a_key_of_another_cloud_is_told_once_a_minute() -> None:
    """By default it is accepted, and an event names the key and both clouds."""
    clock = FakeClock()
    issuer = tenant(F, clock, cloud_instance_name="microsoftonline.us")
    events: list[Event] = []
    validator, _ = one(clock, issuer, on_event=events.append)
    for seconds in (0, 59, 1, 0):
        clock.advance(seconds)
        assert validator.validate(issuer.access())
    told(validator)
    mismatches = [event for event in events if isinstance(event, CloudMismatch)]
    assert [("k1", CLOUD, "microsoftonline.us")] * 2 == [(event.kid, event.expected, event.actual) for event in mismatches]
    assert [60.0] == [later.at - first.at for first, later in pairwise(mismatches)]
    assert v2(F) == mismatches[0].issuer


@pytest.mark.parametrize("cloud", ["", " ", None, CLOUD])
def test_a_cloud_that_is_blank_or_ours(cloud: str | None) -> None:
    """It passes even where clouds are checked, and nothing is told."""
    clock = FakeClock()
    issuer = tenant(F, clock, cloud_instance_name=cloud)
    events: list[Event] = []
    validator, _ = one(clock, issuer, check_cloud=True, on_event=events.append)
    assert validator.validate(issuer.access())
    told(validator)
    assert not any(isinstance(event, CloudMismatch) for event in events)


def test_listed_tenants() -> None:
    """Each has its own document, which is read with its first token; others are refused without a request."""
    clock = FakeClock()
    f, g = tenant(F, clock), tenant(G, clock)
    internet = Internet(f, g)
    router = entra.router([F, G.upper()], audience=API, versions={2}, clock=clock, fetcher=internet)
    assert isinstance(router, IssuerRouter)
    assert [] == internet.asked
    assert v2(F) == router.validate(f.access()).issuer
    g.fetches.expect(discovery=0, jwks=0)
    with pytest.raises(InvalidSignatureError):
        router.validate(f.access(G))
    assert v2(G) == router.validate(g.access(G)).issuer
    with pytest.raises(InvalidIssuerError):
        router.validate(f.access(M))
    assert 4 == len(internet.asked)
    assert {v2(F), v2(G)} == set(router.status())


def test_any_tenant() -> None:
    """Tokens of every tenant are judged with the tenant-independent document, by one client."""
    clock = FakeClock()
    issuer = common(clock)
    internet = Internet(issuer)
    validator = entra.validator(entra.ANY_TENANT, audience=API, clock=clock, fetcher=internet)
    assert {F, G, M} == {validator.validate(issuer.access(name)).claims["tid"] for name in (F, G, M)}
    assert [f"{HOST}/common/v2.0/.well-known/openid-configuration", f"{HOST}/common/v2.0/discovery/keys"] == internet.asked


def test_any_organization() -> None:
    """Personal accounts are nobody's organisation, even under a key that would vouch for them."""
    clock = FakeClock()
    issuer = common(clock, name="organizations")
    validator = entra.validator(entra.ANY_ORGANIZATION, audience=API, clock=clock, fetcher=Internet(issuer))
    assert validator.validate(issuer.access(F))
    with pytest.raises(ClaimError, match="personal"):
        validator.validate(issuer.access(M))


def test_ten_thousand_tenants_cost_no_more_than_one_issuer() -> None:
    """Whatever tenants tokens invent, no client is made, and the issuer is asked as often as one issuer may be (AT32, R4, R5)."""
    clock = FakeClock()
    issuers = common(clock), common(clock, version=1, name="organizations")
    internet = Internet(*issuers)
    router = entra.router(entra.ANY_TENANT, audience=API, clock=clock, fetcher=internet)
    assert all(router.validate(issuer.access(version=version)) for issuer, version in zip(issuers, (2, 1), strict=True))
    internet.asked.clear()
    draw = random.Random(0)
    for number in range(10_000):
        name = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        claims = {"iss": v2(name), "tid": name, "aud": API, "azp": CLIENT, "scp": "x", "exp": clock.wall() + 60}
        token = issuers[0].encode({"alg": "RS256", "typ": "JWT", "kid": f"made-up-{number}"}, claims, signature=b"x" * 256)
        with pytest.raises(UnknownKeyError):
            router.validate(token)
    assert [f"{HOST}/common/v2.0/discovery/keys"] == internet.asked
    assert 2 == len(router.status())
    assert router.validate(issuers[0].access())


def test_both_versions() -> None:
    """Each is judged with its own document and keys; a key of one version's document is none of the other's."""
    clock = FakeClock()
    two, first = tenant(F, clock), tenant(F, clock, version=1)
    internet = Internet(two, first)
    router = entra.router(F, audience=[API, "api://orders"], clock=clock, fetcher=internet)
    assert ("azp", v2(F)) == ("azp", router.validate(two.access()).issuer)
    assert (v1(F), CLIENT) == (
        router.validate(first.access(version=1, aud="api://orders")).issuer,
        router.validate(first.access(version=1)).client_id,
    )
    for stranger, version in ((first, 2), (two, 1)):
        with pytest.raises(InvalidSignatureError):
            router.validate(stranger.access(version=version))
    assert {v1(F), v2(F)} == set(router.status())


def test_any_tenant_in_both_versions() -> None:
    """A router takes every issuer of its templates, and no other."""
    clock = FakeClock()
    two, first = common(clock), common(clock, version=1, name="organizations")
    router = entra.router(entra.ANY_TENANT, audience=API, clock=clock, fetcher=Internet(two, first))
    assert (v2(G), v1(G)) == (router.validate(two.access(G)).issuer, router.validate(first.access(G, version=1)).issuer)
    with pytest.raises(InvalidIssuerError):
        router.validate(two.access(iss=f"https://evil.test/{F}/v2.0"))
    with pytest.raises(InvalidIssuerError):
        router.validate(two.access(iss="https://login.microsoftonline.com/{tenantid}/v2.0"))


def test_any_tenant_beside_another_issuer() -> None:
    """`by_template` is the route where any tenant stands behind one door with issuers of other kinds."""
    clock = FakeClock()
    document, other = common(clock), Directory("https://login.example.com", "https://login.example.com", key={}, clock=clock)
    internet = Internet(document, other)
    router = IssuerRouter(
        entra.validator(entra.ANY_TENANT, audience=API, clock=clock, fetcher=internet),
        TokenValidator("https://login.example.com", audience=API, clock=clock, fetcher=internet),
        route=entra.by_template,
    )
    assert [v2(G), "https://login.example.com"] == [router.validate(token).issuer for token in (document.access(G), other.token())]


def test_national_clouds() -> None:
    """Each cloud has its own host and issuers, and a token of one is nothing to another."""
    clock = FakeClock()
    name = f"https://login.microsoftonline.us/{F}/v2.0"
    issuer = Directory(name, name, key={"issuer": name, "cloud_instance_name": "microsoftonline.us"}, clock=clock)
    validator, _ = one(clock, issuer, cloud=entra.US_GOVERNMENT, check_cloud=True)
    assert validator.validate(issuer.access(iss=name))
    with pytest.raises(InvalidIssuerError) as caught:
        validator.validate(issuer.access())
    assert "of the global cloud: set `cloud`" in caught.value.hint
    china = entra.validator(F, audience=API, version=1, cloud=entra.CHINA, clock=clock)
    assert {f"https://sts.chinacloudapi.cn/{F}/"} == china.issuers


# What is no access token for this service.


@pytest.mark.parametrize(
    "audience",
    [
        *(GRAPH, "https://graph.microsoft.com", "https://graph.microsoft.com/", "https://graph.microsoft.us", "https://dod-graph.microsoft.us/"),
        *("https://microsoftgraph.chinacloudapi.cn", "https://graph.windows.net/", [GRAPH], [API, GRAPH]),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_tokens_for_microsoft_graph(audience: Any, version: int) -> None:
    """They are named before anything else is judged, whatever version they are of, and nothing is fetched (AT50)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, internet = one(clock, issuer)
    router = entra.router([F, G], audience=API, versions={2}, clock=clock, fetcher=internet)
    for judge in (validator, router):
        with pytest.raises(GraphTokenError) as caught:
            judge.validate(issuer.access(version=version, audience=audience))
        assert ("graph_token", 401) == (caught.value.code, caught.value.http_status)
        assert "api://<client id>/<scope>" in caught.value.hint
    assert [] == internet.asked


def test_a_nonce_in_the_header_is_microsofts_own() -> None:
    """So are tokens of SharePoint and others marked; a nonce among the claims decides nothing (AT50)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, internet = one(clock, issuer)
    with pytest.raises(GraphTokenError):
        validator.validate(issuer.token(headers={"nonce": "x"}, iss=v2(F), tid=F, azp=CLIENT, scp="x"))
    assert [] == internet.asked
    assert validator.validate(issuer.access(nonce="n"))


def test_no_id_token_signs_in_to_an_api() -> None:
    """`azp` or `appid`, and `scp` or `roles`: by version, present and not empty (AT46)."""
    clock = FakeClock()
    two, first = tenant(F, clock), tenant(F, clock, version=1)
    internet = Internet(two, first)
    router = entra.router(F, audience=API, clock=clock, fetcher=internet)
    for token in (
        two.access(azp=None, appid=CLIENT),
        first.access(version=1, appid=None, azp=CLIENT),
        two.access(azp=""),
        two.access(azp=1),
        two.access(scp="", roles=[]),
        two.access(scp=" "),
        two.access(azp=None, scp=None, roles=["Orders.Admin"]),
    ):
        with pytest.raises(TokenTypeError):
            router.validate(token)
    assert [] == internet.asked


def test_no_access_token_signs_a_user_in() -> None:
    """An ID token is accepted at a login, with its nonce, and an access token of the same registration is not (AT46)."""
    clock = FakeClock()
    issuer = tenant(F, clock)
    validator, internet = one(clock, issuer, token_type="id")
    with pytest.raises(TokenTypeError, match="scp"):
        validator.validate(issuer.access(azp=API))
    assert [] == internet.asked
    assert "alice" == validator.validate(issuer.access(azp=None, scp=None, nonce="n"), nonce="n").subject
