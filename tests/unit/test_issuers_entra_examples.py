"""The worked examples of Entra's issuer rules, one test each: which token, judged with which document and key, passes (F47, C44)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.entra_documents import CLIENT, T1, T2, Directory, F, G, Internet, M, common, v2
from tests.unit.material import parts

from keyturn import ClaimError, InvalidIssuerError, KeyturnError, MissingClaimError, TokenTypeError, TokenValidator, ValidatedToken
from keyturn.issuers import entra
from keyturn.testing import FakeClock

CLOCK = FakeClock()


def judge(issuer: Directory, version: int = 2, **settings: Any) -> TokenValidator:
    """Return the validator of any tenant's tokens over *issuer*."""
    return entra.validator(entra.ANY_TENANT, audience=str(issuer.audience), version=version, clock=CLOCK, fetcher=Internet(issuer), **settings)


def accepted(issuer: Directory, token: str, version: int = 2, **settings: Any) -> ValidatedToken:
    """Return *token* after every check."""
    return judge(issuer, version, **settings).validate(token)


def refused(issuer: Directory, token: str, error: type[KeyturnError], *, fetches: int, **settings: Any) -> KeyturnError:
    """Return why *token* is refused, after so many requests."""
    validator = judge(issuer, **settings)
    with pytest.raises(error) as caught:
        validator.validate(token)
    assert fetches == len(issuer.fetches.requests)
    return caught.value


def test_a1_a_token_of_version_1() -> None:
    """The template of version 1 is filled in with `tid`; its keys name no issuer."""
    issuer = common(CLOCK, version=1, name="organizations")
    assert T1 == issuer.issuer
    token = accepted(issuer, issuer.access(version=1), version=1)
    assert (f"https://sts.windows.net/{F}/", CLIENT) == (token.issuer, token.client_id)


def test_a2_a_token_of_version_2() -> None:
    """The template of version 2 is filled in with `tid`, in the document and in the key."""
    issuer = common(CLOCK)
    token = accepted(issuer, issuer.access())
    assert (v2(F), CLIENT, {"orders.read", "orders.write"}) == (token.issuer, token.client_id, token.scopes)


def test_a3_a_token_of_the_other_version() -> None:
    """Each version is judged by its own document; the error says both ways out."""
    issuer = common(CLOCK)
    error = refused(issuer, issuer.access(version=1), InvalidIssuerError, fetches=0)
    assert "of version 1, and version 2 is expected" in error.hint
    assert "versions={1, 2}" in error.hint
    assert "accessTokenAcceptedVersion" in error.hint


def test_a4_a_template_inside_a_token() -> None:
    """Braces in a token are text, and match nothing, though they equal the configured template."""
    issuer = common(CLOCK)
    refused(issuer, issuer.access(iss=T2), InvalidIssuerError, fetches=0)


def test_a5_an_issuer_and_a_tenant_that_differ() -> None:
    """Nobody is of one tenant by issuer and of another by claim."""
    issuer = common(CLOCK)
    refused(issuer, issuer.access(F, tid=G), InvalidIssuerError, fetches=0)


def test_a6_a_key_of_another_cloud_and_tenant() -> None:
    """A key vouches for the issuer that it names, and for no other."""
    issuer = common(CLOCK, issuer="https://login.microsoftonline.us/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0")
    error = refused(issuer, issuer.access(), InvalidIssuerError, fetches=2)
    assert "is published for" in str(error)


def test_a7_the_key_of_personal_accounts() -> None:
    """Storm-0558: a consumer key never vouches for an organisation's tenant."""
    issuer = common(CLOCK, issuer=v2(M))
    refused(issuer, issuer.access(F), InvalidIssuerError, fetches=2)


def test_a8_a_personal_account() -> None:
    """The key of personal accounts vouches for them."""
    issuer = common(CLOCK, issuer=v2(M))
    assert M == accepted(issuer, issuer.access(M)).claims["tid"]


def test_a9_a_tenant_named_twice() -> None:
    """`tid` and `TID` together say that somebody plays with readers."""
    issuer = common(CLOCK)
    error = refused(issuer, issuer.access(TID=F), ClaimError, fetches=0)
    assert "twice" in str(error)


def test_a10_a_tenant_in_the_wrong_letters() -> None:
    """`TID` is not `tid`."""
    issuer = common(CLOCK)
    error = refused(issuer, issuer.access(tid=None, TID=F), ClaimError, fetches=0)
    assert "tid" == getattr(error, "claim", "")


def test_a11_a_key_of_another_cloud() -> None:
    """Told by default, refused with `check_cloud`."""
    issuer = common(CLOCK, cloud_instance_name="microsoftonline.us")
    assert accepted(issuer, issuer.access())
    strict = common(CLOCK, cloud_instance_name="microsoftonline.us")
    error = refused(strict, strict.access(), InvalidIssuerError, fetches=2, check_cloud=True)
    for text in ('"microsoftonline.us"', '"microsoftonline.com"', "setting: check_cloud"):
        assert text in str(error)


def test_a12_a_key_that_names_no_issuer() -> None:
    """It serves every issuer of its document."""
    issuer = common(CLOCK, issuer=None)
    assert accepted(issuer, issuer.access())


def test_a13_a_template_of_another_authority() -> None:
    """A token of the global cloud is nothing to another authority."""
    ppe = "https://login.windows-ppe.net/{tenantid}/v2.0"
    cloud = entra.Cloud("login.windows-ppe.net", "https://sts.windows-ppe.net/{tenantid}/", ppe)
    issuer = Directory(ppe, "https://login.windows-ppe.net/common/v2.0", key={}, clock=CLOCK)
    error = refused(issuer, issuer.access(), InvalidIssuerError, fetches=0, cloud=cloud)
    assert "The token is of the global cloud: set `cloud`." in error.hint


def test_a14_an_id_token() -> None:
    """It has the audience and the `typ` of an access token, and neither `azp` nor `scp`."""
    issuer = common(CLOCK)
    error = refused(issuer, issuer.access(nonce="n", azp=None, scp=None), TokenTypeError, fetches=0)
    assert "ID token" in error.hint


def test_a15_an_application_without_a_role() -> None:
    """Neither `scp` nor `roles` is refused, but for applications that are listed, by their own tokens alone."""
    issuer = common(CLOCK)
    error = refused(issuer, issuer.access(scp=None), TokenTypeError, fetches=0)
    assert "setting: authorize_by_acl" in str(error)
    assert accepted(issuer, issuer.access(scp=None), authorize_by_acl=[CLIENT]).scopes == frozenset()
    assert accepted(issuer, issuer.access(scp=None, idtyp="app"), authorize_by_acl={CLIENT})
    for token in (issuer.access(scp=None, idtyp="user"), issuer.access(scp=None, azp=G), issuer.access(scp=None, idtyp=["app"])):
        with pytest.raises(TokenTypeError):
            judge(issuer, authorize_by_acl=[CLIENT]).validate(token)


def test_a16_an_application_with_a_role() -> None:
    """`roles` without `scp` is an application's token."""
    issuer = common(CLOCK)
    token = accepted(issuer, issuer.access(scp=None, roles=["Orders.Admin"]))
    assert (frozenset(), {"Orders.Admin"}) == (token.scopes, token.roles)


@pytest.mark.parametrize("value", ["", "common", F[:-1], F + "0", f"{{{F}}}", " " + F, 1, [F], {"a": F}, "{tenantid}", F.replace("f", "g")])
def test_a_tenant_that_is_no_guid(value: Any) -> None:
    """`tid` is 8-4-4-4-12 hexadecimal digits, or the token is refused without a request, whatever `iss` is made of it."""
    issuer = common(CLOCK)
    for iss in (v2(F), v2(value) if isinstance(value, str) else v2(F)):
        refused(issuer, issuer.access(tid=value, iss=iss), ClaimError, fetches=0)
        issuer.fetches.clear()


def test_no_tenant_at_all() -> None:
    """Absent and null are missing."""
    issuer = common(CLOCK)
    refused(issuer, issuer.access(tid=None), MissingClaimError, fetches=0)
    header, claims, _ = parts(issuer.access())
    refused(issuer, issuer.encode(header, {**claims, "tid": None}), MissingClaimError, fetches=0)


@pytest.mark.parametrize(
    "issuer",
    [
        f"https://login.microsoftonline.com/{F}/v2.0/",
        f"https://login.microsoftonline.com/{F}/V2.0",
        f"https://login.microsoftonline.com/{F}/{F}/v2.0",
        f"https://login.microsoftonline.com//{F}/v2.0",
        f"https://login.microsoftonline.com.evil.test/{F}/v2.0",
        f"https://evil.test/login.microsoftonline.com/{F}/v2.0",
        f"http://login.microsoftonline.com/{F}/v2.0",
        f"https://login.microsoftonline.us/{F}/v2.0",
        f"https://login.microsoftonline.com/{F.upper()}/v2.0",
        "https://login.microsoftonline.com/common/v2.0",
        "https://[login.microsoftonline.com/v2.0",
        "",
    ],
)
def test_an_issuer_that_is_almost_right(issuer: str) -> None:
    """The filled-in template is compared character by character, and nothing is fetched for what differs."""
    document = common(CLOCK)
    refused(document, document.access(iss=issuer), ClaimError, fetches=0)


def test_the_same_material_for_two_issuers() -> None:
    """Which of two entries with one key stands first means nothing: the one that fits vouches (R2)."""
    for issuers in ((v2(M), T2), (T2, v2(M))):
        document = common(CLOCK, issuer=issuers[0])
        (entry,) = document.jwks()["keys"]
        document.add_entry({**entry, "issuer": issuers[1]})
        validator = judge(document)
        assert validator.validate(document.access(F))
        assert validator.validate(document.access(M))
        assert 2 == len(validator.client.snapshot().keys)
