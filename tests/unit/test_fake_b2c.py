"""The fake B2C and the fake External ID: documents where they stand, policies that share nothing, and tokens that the presets accept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.material import parts

from keyturn import FetchError, InvalidIssuerError, InvalidSignatureError
from keyturn.issuers import entra as preset
from keyturn.testing import FakeB2c, FakeClock, FakeEntra, FakeExternalId
from keyturn.testing.entra import APP, TENANT
from keyturn.testing.publisher import Publisher

POLICIES = ("B2C_1_sign_in", "B2C_1A_custom")


def told(issuer: Publisher, url: str) -> dict[str, Any]:
    """Return a document of JSON."""
    return json.loads(issuer.fetcher().fetch(url, headers={}, max_bytes=524_288, deadline=60.0).body)


@pytest.fixture
def b2c() -> FakeB2c:
    """Two policies on a clock that stands still."""
    return FakeB2c(policies=POLICIES, clock=FakeClock())


class TestB2c:
    """Azure AD B2C."""

    @pytest.mark.parametrize("policy", POLICIES)
    def test_documents(self, b2c: FakeB2c, policy: str) -> None:
        """They stand below the policy; the issuer ends in a slash and names no policy."""
        base = f"https://contoso.b2clogin.com/contoso.onmicrosoft.com/{policy}"
        document = told(b2c, f"{base}/v2.0/.well-known/openid-configuration")
        assert (f"https://contoso.b2clogin.com/{TENANT}/v2.0/", f"{base}/discovery/v2.0/keys") == (document["issuer"], document["jwks_uri"])
        assert b2c.jwks(policy) == told(b2c, document["jwks_uri"]) == told(b2c, document["jwks_uri"].lower())

    def test_entries(self, b2c: FakeB2c) -> None:
        """Keys name neither an issuer nor a certificate nor an algorithm, and policies share none."""
        sets = [b2c.jwks(policy)["keys"] for policy in POLICIES]
        assert [{"kty", "use", "kid", "n", "e"}] * 2 == [set(entry) for (entry,) in sets]
        assert 2 == len({entry["n"] for (entry,) in sets})

    def test_tokens(self, b2c: FakeB2c) -> None:
        """They say their policy in `tfp`, and their tenant only inside the issuer."""
        claims = parts(b2c.token("b2c_1a_CUSTOM", scopes=["read"]))[1]
        assert ("B2C_1A_custom", "read", APP, False) == (claims["tfp"], claims["scp"], claims["aud"], "tid" in claims)

    @pytest.mark.parametrize("settings", [{}, {"issuer_with_policy": True}, {"custom_domain": "login.example.test"}])
    def test_by_the_preset(self, settings: dict[str, Any]) -> None:
        """Each policy's tokens pass by their own keys, in every form of the issuer, also where older flows say `acr`."""
        b2c = FakeB2c(policies=POLICIES, clock=FakeClock(), **settings)
        router = preset.b2c("contoso", TENANT, POLICIES, audience=APP, clock=b2c.clock, fetcher=b2c.fetcher(), **settings)
        for policy in POLICIES:
            assert "alice" == router.validate(b2c.token(policy)).subject
        assert "alice" == router.validate(b2c.token(tfp=None, acr=POLICIES[0])).subject
        b2c.fetches.expect(discovery=2, jwks=2)

    def test_a_token_of_one_policy_in_the_name_of_another(self, b2c: FakeB2c) -> None:
        """One kid names two keys, and each policy's own decides (R15)."""
        router = preset.b2c("contoso", TENANT, POLICIES, audience=APP, clock=b2c.clock, fetcher=b2c.fetcher())
        for token in (b2c.token(POLICIES[0], tfp=POLICIES[1]), b2c.forge(POLICIES[1])):
            with pytest.raises(InvalidSignatureError):
                router.validate(token)

    def test_a_rollover_of_one_policy(self, b2c: FakeB2c) -> None:
        """Steps of a policy's keys leave the other's alone."""
        router = preset.b2c("contoso", TENANT, POLICIES, audience=APP, clock=b2c.clock, fetcher=b2c.fetcher())
        for policy in POLICIES:
            router.validate(b2c.token(policy))
        b2c.fetches.clear()
        b2c.keys(POLICIES[1]).cut_over("k2")
        assert ["k1", "k2"] == [router.validate(b2c.token(policy)).key_id for policy in POLICIES]
        b2c.fetches.expect(discovery=0, jwks=1)

    @pytest.mark.parametrize(
        "url", ["https://contoso.b2clogin.com/contoso.onmicrosoft.com/other/discovery/v2.0/keys", "https://contoso.b2clogin.com/"]
    )
    def test_elsewhere_is_nothing(self, b2c: FakeB2c, url: str) -> None:
        """A policy that there is not has no documents."""
        with pytest.raises(FetchError, match="answered 404"):
            told(b2c, url)

    def test_misuse(self, b2c: FakeB2c) -> None:
        """A policy that there is not is told, and so is a tenant without any."""
        with pytest.raises(ValueError, match='policy is "other", expected one of "B2C_1_sign_in", "B2C_1A_custom"'):
            b2c.token("other")
        with pytest.raises(ValueError, match="policies is empty"):
            FakeB2c(policies=())
        assert "<FakeB2c contoso.b2clogin.com policies=['B2C_1_sign_in', 'B2C_1A_custom']>" == repr(b2c)


class TestExternalId:
    """External ID."""

    @pytest.mark.parametrize(("by_subdomain", "host"), [(False, TENANT), (True, "contoso")])
    def test_documents(self, by_subdomain: bool, host: str) -> None:
        """They stand at the subdomain by GUID or by name, and the issuer is called after either."""
        issuer = FakeExternalId(named_by_subdomain=by_subdomain, clock=FakeClock())
        for tenant in (TENANT, "contoso.onmicrosoft.com"):
            document = told(issuer, f"https://contoso.ciamlogin.com/{tenant}/v2.0/.well-known/openid-configuration")
            assert f"https://{host}.ciamlogin.com/{TENANT}/v2.0" == document["issuer"]
            assert f"https://contoso.ciamlogin.com/{TENANT}/discovery/v2.0/keys" == document["jwks_uri"]
        (entry,) = told(issuer, document["jwks_uri"])["keys"]
        assert (issuer.issuer, issuer.keys.x5t(), False) == (entry["issuer"], entry["kid"], "alg" in entry)

    @pytest.mark.parametrize("by_subdomain", [False, True])
    def test_by_the_preset(self, by_subdomain: bool) -> None:
        """Both names of the issuer pass, users and applications."""
        issuer = FakeExternalId(named_by_subdomain=by_subdomain, clock=FakeClock())
        validator = preset.external_id("contoso", TENANT, audience=APP, clock=issuer.clock, fetcher=issuer.fetcher())
        assert {"access_as_user"} == validator.validate(issuer.token()).scopes
        assert {"Orders.Read"} == validator.validate(issuer.token(roles=["Orders.Read"])).roles
        issuer.fetches.expect(discovery=1, jwks=1)
        with pytest.raises(InvalidSignatureError):
            validator.validate(issuer.forge())

    def test_the_same_tenant_elsewhere(self) -> None:
        """The authority on login.microsoftonline.com has other keys for the tenant, and its tokens are refused with a hint."""
        clock = FakeClock()
        issuer, other = FakeExternalId(clock=clock), FakeEntra(clock=clock)
        assert issuer.tenant == other.tenant
        validator = preset.external_id("contoso", TENANT, audience=APP, clock=clock, fetcher=issuer.fetcher())
        with pytest.raises(InvalidIssuerError) as caught:
            validator.validate(other.token())
        assert "other keys for the same tenant" in caught.value.hint

    @pytest.mark.parametrize(
        "url", [f"https://other.ciamlogin.com/{TENANT}/discovery/v2.0/keys", "https://contoso.ciamlogin.com/x/discovery/v2.0/keys"]
    )
    def test_elsewhere_is_nothing(self, url: str) -> None:
        """Another subdomain or tenant has no documents here."""
        with pytest.raises(FetchError, match="answered 404"):
            told(FakeExternalId(clock=FakeClock()), url)

    def test_misuse(self) -> None:
        """A tenant that is no GUID is told."""
        with pytest.raises(ValueError, match='tenant is "contoso", expected a GUID'):
            FakeExternalId(tenant="contoso")
        assert "<FakeExternalId contoso.ciamlogin.com signing='k1'>" == repr(FakeExternalId())
