"""Azure AD B2C, where every policy is an issuer of its own, and external tenants, whose issuer has two names."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.entra_documents import API, CLIENT, Directory, F, G, Internet

from keyturn import (
    ClaimError,
    ConfigurationError,
    DiscoveryError,
    GraphTokenError,
    InvalidIssuerError,
    InvalidSignatureError,
    IssuerRouter,
    UnknownKeyError,
)
from keyturn.issuers import entra
from keyturn.testing import FakeClock

B2C = f"https://contoso.b2clogin.com/{F}/v2.0/"
NAMED = f"https://contoso.ciamlogin.com/{F}/v2.0"
BY_GUID = f"https://{F}.ciamlogin.com/{F}/v2.0"


def policy(name: str, clock: FakeClock, *, issuer: str = B2C, host: str = "contoso.b2clogin.com", kid: str = "k1") -> Directory:
    """Return the documents of one policy."""
    return Directory(issuer, f"https://{host}/contoso.onmicrosoft.com/{name}/v2.0", key={}, clock=clock, kid=kid)


def two_policies(**settings: Any) -> tuple[IssuerRouter, Directory, Directory, Internet]:
    """Return a router of two policies with one issuer and one kid."""
    clock = FakeClock()
    a, b = policy("B2C_1_in", clock), policy("B2C_1_up", clock)
    internet = Internet(a, b)
    router = entra.b2c("contoso", F, ["B2C_1_in", "B2C_1_up"], audience=API, clock=clock, fetcher=internet, **settings)
    return router, a, b, internet


def test_each_policy_is_judged_with_its_own_keys() -> None:
    """One name of the issuer, two key sets: the policy in the token decides, and only its own keys are tried (R15)."""
    router, a, b, internet = two_policies()
    token = router.validate(a.token(tfp="B2C_1_in", scp="read", azp=CLIENT))
    assert (B2C, {"read"}, CLIENT) == (token.issuer, token.scopes, token.client_id)
    assert 2 == len(internet.asked)
    assert router.validate(b.token(tfp="B2C_1_up"))
    for signer, claimed in ((a, "B2C_1_up"), (b, "B2C_1_in")):
        with pytest.raises(InvalidSignatureError):
            router.validate(signer.token(tfp=claimed))
    assert 2 == len(router.status())


@pytest.mark.parametrize("claims", [{"tfp": "b2c_1_IN"}, {"acr": "B2C_1_in"}, {"acr": "b2c_1_in"}, {"tfp": "B2C_1_in", "acr": "B2C_1_up"}])
def test_a_policy_in_other_letters_or_in_acr(claims: dict[str, str]) -> None:
    """Letter case does not matter, `acr` stands in where there is no `tfp`, and `tfp` decides where both are."""
    router, a, _, _ = two_policies()
    assert router.validate(a.token(**claims))


@pytest.mark.parametrize(
    "claims", [{}, {"tfp": "B2C_1_edit"}, {"tfp": ["B2C_1_in"]}, {"tfp": 1}, {"acr": {}}, {"tfp": ""}, {"iss": f"{B2C} b2c_1_in", "tfp": ""}]
)
def test_a_policy_of_nobody(claims: dict[str, Any]) -> None:
    """It is refused without a request."""
    router, a, _, internet = two_policies()
    with pytest.raises(InvalidIssuerError):
        router.validate(a.token(**claims))
    assert [] == internet.asked


def test_a_validator_of_one_policy_judges_the_policy_itself() -> None:
    """The route decides who judges and nothing else: the judge reads the policy again."""
    router, a, _, internet = two_policies()
    judge = next(iter(router._validators.values()))
    with pytest.raises(ClaimError, match="setting: policies"):
        judge.validate(a.token(tfp="B2C_1_up"))
    assert [] == internet.asked


def test_an_issuer_that_names_its_policy() -> None:
    """Where the tenant writes the policy into the issuer, it is expected there, and the claim as well."""
    clock = FakeClock()
    name = f"https://login.example.com/tfp/{F}/B2C_1_in/v2.0/"
    issuer = policy("B2C_1_in", clock, issuer=name, host="login.example.com")
    router = entra.b2c(
        "contoso", F, "B2C_1_in", audience=API, custom_domain="login.example.com", issuer_with_policy=True, clock=clock, fetcher=Internet(issuer)
    )
    assert name == router.validate(issuer.token(tfp="B2C_1_in")).issuer
    with pytest.raises(InvalidIssuerError):
        router.validate(issuer.token(iss=f"https://login.example.com/{F}/v2.0/", tfp="B2C_1_in"))


def test_b2c_and_microsoft_graph() -> None:
    """A token for Graph is named here, too."""
    router, a, _, _ = two_policies()
    with pytest.raises(GraphTokenError):
        router.validate(a.token(audience="https://graph.microsoft.com", iss="https://sts.windows.net/x/"))


def test_b2c_has_the_policy_of_the_preset() -> None:
    """Grace and algorithms are those of Entra."""
    router, *_ = two_policies()
    assert {entra.POLICY} == {judge.client.policy for judge in router._validators.values()}


def external(clock: FakeClock, stated: str = BY_GUID, **key: Any) -> Directory:
    """Return the documents of an external tenant."""
    return Directory(stated, f"https://contoso.ciamlogin.com/{F}/v2.0", key=key, clock=clock)


@pytest.mark.parametrize("stated", [BY_GUID, NAMED])
@pytest.mark.parametrize("named", [BY_GUID, NAMED])
@pytest.mark.parametrize("key", [None, BY_GUID, NAMED, BY_GUID.replace(f"/{F}/", "/{tenantid}/")])
def test_an_external_tenant(stated: str, named: str, key: str | None) -> None:
    """Document, token and key may use either name."""
    clock = FakeClock()
    issuer = external(clock, stated, issuer=key)
    validator = entra.external_id("contoso", F, audience=API, clock=clock, fetcher=Internet(issuer))
    assert named == validator.validate(issuer.access(iss=named)).issuer


def test_an_external_tenant_takes_no_other_name() -> None:
    """Neither another tenant at the same host, nor the same tenant at Entra's own; there its keys are others, which the hint says."""
    clock = FakeClock()
    issuer = external(clock)
    internet = Internet(issuer)
    validator = entra.external_id("contoso", F, audience=API, clock=clock, fetcher=internet)
    for name in (f"https://{G}.ciamlogin.com/{G}/v2.0", f"https://other.ciamlogin.com/{F}/v2.0", f"https://login.microsoftonline.com/{F}/v2.0"):
        with pytest.raises(InvalidIssuerError) as caught:
            validator.validate(issuer.access(iss=name))
    assert "use the authority that issued the token" in caught.value.hint
    with pytest.raises(InvalidIssuerError, match="the claim tid"):
        validator.validate(issuer.access(iss=BY_GUID, tid=G))
    assert [] == internet.asked


def test_an_external_tenants_document_of_somebody_else() -> None:
    """A document that states a third name is refused."""
    clock = FakeClock()
    issuer = external(clock, f"https://{G}.ciamlogin.com/{G}/v2.0")
    validator = entra.external_id("contoso", F, audience=API, clock=clock, fetcher=Internet(issuer))
    with pytest.raises(DiscoveryError):
        validator.validate(issuer.access(iss=BY_GUID))


def test_an_external_tenants_unknown_key() -> None:
    """The hint is that of Entra."""
    clock = FakeClock()
    issuer = external(clock)
    validator = entra.external_id("contoso", F, audience=API, clock=clock, fetcher=Internet(issuer))
    with pytest.raises(UnknownKeyError) as caught:
        validator.validate(issuer.forge(key="x", iss=BY_GUID, tid=F, azp=CLIENT, scp="x"))
    assert "appid" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "contoso.b2clogin.com/x"}, "setting: name"),
        ({"name": ".."}, "setting: name"),
        ({"tenant": "contoso"}, "setting: tenant"),
        ({"policies": []}, "setting: policies"),
        ({"policies": ["a/b"]}, "setting: policies"),
        ({"policies": ["B2C_1_in", "b2c_1_in"]}, "two validators are for"),
        ({"custom_domain": "https://login.example.com"}, "setting: custom_domain"),
    ],
)
def test_settings_of_b2c_that_cannot_work(settings: dict[str, Any], says: str) -> None:
    """They are found at construction."""
    with pytest.raises(ConfigurationError, match=says):
        entra.b2c(**{"name": "contoso", "tenant": F, "policies": "B2C_1_in", "audience": API, **settings})


@pytest.mark.parametrize("settings", [{"subdomain": "https://contoso.ciamlogin.com"}, {"tenant": "contoso"}, {"appid": "x"}])
def test_settings_of_an_external_tenant_that_cannot_work(settings: dict[str, Any]) -> None:
    """They are found at construction."""
    with pytest.raises(ConfigurationError, match=f"setting: {next(iter(settings))}"):
        entra.external_id(**{"subdomain": "contoso", "tenant": F, "audience": API, **settings})
