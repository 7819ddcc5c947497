"""What a hostile reader found in federation metadata and the Microsoft presets: one test for each way in, out or around."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from tests.unit.entra_documents import API, CLIENT, HOST, Directory, F, G, Internet, M, common, tenant, v2
from tests.unit.metadata import CERT, FED, MD, OTHER, der_of, descriptor, entity, key_info, parsed, role, signed, typed_role, x5t_s256

from keyturn import ClaimError, InvalidIssuerError, InvalidKeySetError, TokenTypeError, UnknownKeyError
from keyturn._core.tenant import is_published_for
from keyturn.issuers import entra
from keyturn.testing import FakeClock

FIRST_DAY = "0001-01-01T00:00:00+23:59"
"""An instant that lies before the first one that can be shown, once its zone is taken off."""


@pytest.mark.parametrize(
    "document",
    [entity(role(descriptor(CERT)), attributes=f'validUntil="{FIRST_DAY}"'), entity(role(descriptor(CERT), attributes=f'validUntil="{FIRST_DAY}"'))],
    ids=["document", "role"],
)
def test_an_instant_before_all_instants(document: str) -> None:
    """A `validUntil` that no date can hold refuses as one that cannot be read, and never as an error of another kind (AX9)."""
    with pytest.raises(InvalidKeySetError, match="has the validUntil"):
        parsed(document)


def lines(call: Callable[[], object]) -> int:
    """Return how many lines of Python *call* runs, which is work without a clock."""
    count, before = 0, sys.gettrace()

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def crowd(size: int) -> str:
    """Return an entity with as many kinds of roles as certificates."""
    others = "".join(f"<Role{number}Descriptor/>" for number in range(size))
    return entity(role(f'<KeyDescriptor use="signing">{key_info(CERT, *("" for _ in range(size)))}</KeyDescriptor>'), others)


def test_many_kinds_of_roles_and_many_certificates() -> None:
    """Twice the document is at most about twice the work: roles and certificates are never multiplied (R16, AX13)."""
    assert 1 == len(parsed(crowd(20)).keys.keys)
    small, large = (lines(lambda document=document: parsed(document)) for document in (crowd(100), crowd(200)))
    assert large < 2.5 * small


def test_a_document_without_entries() -> None:
    """The message of an empty document does not end in the middle."""
    with pytest.raises(InvalidKeySetError) as caught:
        parsed(f'<EntityDescriptor xmlns="{MD}" entityID="http://fs.example.com/adfs/services/trust"><IDPSSODescriptor/></EntityDescriptor>')
    assert "the federation metadata has 0 entries and no usable key" == caught.value.message


@pytest.mark.parametrize("kind", ["ApplicationServiceType", "SecurityTokenServiceTypeOfSomebody", "PseudonymServiceType"])
def test_a_prefix_that_no_signature_covers(kind: str) -> None:
    """What a prefix in `xsi:type` means is not signed; changed, it makes no role an issuer that is called otherwise (AX6, AX7)."""
    document = entity(role(descriptor(CERT)), typed_role(descriptor(OTHER), kind=f"x:{kind}", namespaces={"x": "urn:x"}), attributes='ID="_a"')
    changed = signed(document, number=5).replace('xmlns:x="urn:x"', f'xmlns:x="{FED}"')
    assert FED in changed
    assert 1 == len(parsed(changed, signers=[x5t_s256(der_of("ES256", 5))]).keys.keys)


@pytest.mark.parametrize("letters", [str.lower, str.upper, str.title])
def test_a_personal_account_in_other_letters(letters: Callable[[str], str]) -> None:
    """Any organisation's tenant is not that of personal accounts, in whatever letters it is written."""
    clock = FakeClock()
    document = common(clock, name="organizations", issuer=None)
    validator = entra.validator(entra.ANY_ORGANIZATION, audience=API, clock=clock, fetcher=Internet(document))
    with pytest.raises(ClaimError, match="personal Microsoft account"):
        validator.validate(document.access(letters(M)))
    assert not document.fetches.requests


def test_any_tenant_in_version_1() -> None:
    """Keys of version 1 name no issuer, so those of personal accounts, which `common` may list, are never read for tenants (Storm-0558)."""
    clock = FakeClock()
    consumers, work = common(clock, version=1), common(clock, version=1, name="organizations")
    consumers.cut_over("consumer", alg=None)
    internet = Internet(consumers, work)
    validator = entra.validator(entra.ANY_TENANT, audience=API, version=1, clock=clock, fetcher=internet)
    assert validator.validate(work.access(version=1))
    with pytest.raises(UnknownKeyError):
        validator.validate(consumers.access(version=1))
    assert not any("/common/" in url for url in internet.asked)
    with pytest.raises(ClaimError, match="personal Microsoft account"):
        validator.validate(work.access(M, version=1))


@pytest.mark.parametrize(
    ("issuer", "claim", "passes"),
    [(v2(F), F, True), ("https://login.microsoftonline.com/{tenantid}/v2.0", G, True), (v2(F), G, False), (v2(F), F.upper(), False)],
)
def test_a_key_of_one_of_several_configured_tenants(issuer: str, claim: str, passes: bool) -> None:
    """Where names of several tenants are configured, a key that names one of them serves none of the others (Storm-0558, AT33)."""
    assert passes == is_published_for(issuer, {"iss": v2(claim), "tid": claim}, [v2(F), v2(G)], "tid")


def test_a_template_inside_a_token_is_told() -> None:
    """The message says what was expected, though the token's text equals what is configured."""
    clock = FakeClock()
    document = common(clock)
    validator = entra.validator(entra.ANY_TENANT, audience=API, clock=clock, fetcher=Internet(document))
    with pytest.raises(InvalidIssuerError, match="a template that nobody filled in, expected the issuer of one tenant$"):
        validator.validate(document.access(iss=v2("{tenantid}")))


def test_an_authority_that_the_token_made_up() -> None:
    """No hint tells anybody to use a host that the token names and nobody knows."""
    clock = FakeClock()
    external = entra.external_id("contoso", F, audience=API, clock=clock, fetcher=Internet())
    document = tenant(F, clock)
    with pytest.raises(InvalidIssuerError) as caught:
        external.validate(document.access(iss=f"https://login.evil.example.com/{F}/v2.0"))
    assert "authority" not in (caught.value.hint or "")
    for issuer in (v2(F), f"https://sts.windows.net/{F}/"):
        with pytest.raises(InvalidIssuerError) as caught:
            external.validate(document.access(iss=issuer))
        assert "use the authority that issued the token" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "claims"),
    [
        (1, {"scp": None, "roles": ["orders.read"]}),
        (1, {"scp": None}),
        (2, {"scp": None, "azp": API, "idtyp": "app", "roles": ["orders.read"]}),
        (2, {"azp": API}),
    ],
)
def test_an_application_at_a_login(version: int, claims: dict[str, Any]) -> None:
    """The token of an application that calls as itself has no `scp`, and is still no ID token: nobody has signed in."""
    clock = FakeClock()
    document = tenant(F, clock, version=version)
    login = entra.validator(F, audience=API, version=version, token_type="id", clock=clock, fetcher=Internet(document))
    with pytest.raises(TokenTypeError) as caught:
        login.validate(document.access(version=version, **claims))
    assert "An access token was sent to a login." == caught.value.hint
    assert not document.fetches.requests


def b2c(clock: FakeClock, **settings: Any) -> tuple[Any, Directory]:
    """Return a router of one policy, and its documents."""
    document = Directory(
        f"https://contoso.b2clogin.com/{F}/v2.0/", "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_in/v2.0", key={}, clock=clock
    )
    return entra.b2c("contoso", F, "B2C_1_in", audience=API, clock=clock, fetcher=Internet(document), **settings), document


def test_an_access_token_at_a_login_of_b2c() -> None:
    """One registration for a page and its API gives both kinds of token one audience; `scp` tells them apart in B2C, too."""
    login, document = b2c(FakeClock(), token_type="id")
    assert login.validate(document.token(tfp="B2C_1_in", nonce="n"), nonce="n")
    with pytest.raises(TokenTypeError):
        login.validate(document.token(tfp="B2C_1_in", scp="orders.read", azp=API))


def test_the_hint_for_a_policy_that_is_not_listed() -> None:
    """The issuer is right and the policy is not: the hint says so, because the issuer alone looks right."""
    router, document = b2c(FakeClock())
    for claims, hint in (
        ({"tfp": "B2C_1_edit"}, 'The token is of policy "B2C_1_edit": name it in `policies` if its tokens are to be accepted.'),
        ({}, "The token says neither in `tfp` nor in `acr` which policy it is of."),
        ({"tfp": "B2C_1_in", "iss": f"{HOST}/{F}/v2.0"}, ""),
    ):
        with pytest.raises(InvalidIssuerError) as caught:
            router.validate(document.token(azp=CLIENT, **claims))
        assert hint == caught.value.hint
    assert not document.fetches.requests
