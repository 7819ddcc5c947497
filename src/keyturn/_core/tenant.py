"""Issuers that are a template: one name for every tenant, filled in by what the token says of its tenant.

Rules of this file:

1. The placeholder is `{tenantid}`, in this spelling, and there is one of it. Nothing else in a name is ever filled in.
2. It is filled in with the tenant's claim alone, which must be a GUID; then the names are compared code point by code point. A
   placeholder inside a token is text like any other and matches nothing.
3. The tenant also stands in the first segment of the issuer's path, so that a claim and an issuer cannot name two tenants.
4. A key that names an issuer serves tokens of that issuer alone, filled in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from keyturn._core.claims import Claims, check_issuer
from keyturn.errors import ClaimError, InvalidIssuerError, MissingClaimError, quoted

PLACEHOLDER: Final = "{tenantid}"

_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SEGMENT = 3
"""Where the first segment of a path stands between the slashes of a URL."""


def is_guid(text: object) -> bool:
    """Return whether *text* is a GUID in its usual form: 8-4-4-4-12 hexadecimal digits (RFC 9562, section 4)."""
    return isinstance(text, str) and _GUID.fullmatch(text) is not None


def filled_in(name: str, tenant: str) -> str:
    """Return *name* with its one placeholder replaced by *tenant*; a name without one, or with several, as it is."""
    return name.replace(PLACEHOLDER, tenant) if name.count(PLACEHOLDER) == 1 else name


def template_of(issuer: str) -> str:
    """Return *issuer* with a placeholder where the first segment of its path is a GUID, else as it is."""
    parts = issuer.split("/", _SEGMENT + 1)
    if len(parts) <= _SEGMENT or not is_guid(parts[_SEGMENT]):
        return issuer
    return "/".join([*parts[:_SEGMENT], PLACEHOLDER, *parts[_SEGMENT + 1 :]])


def check_tenant(claims: Claims, issuers: Collection[str], claim: str) -> None:
    """Judge `iss` against names that may be templates, and the tenant's claim with it.

    Args:
        claims: Unverified claims.
        issuers: Names and templates of the issuer.
        claim: The claim that names the tenant.

    Raises:
        MissingClaimError: `iss` or *claim* is absent.
        ClaimError: *claim* is no GUID, or is there twice in different letter case.
        InvalidIssuerError: `iss` is no such name, or of another tenant than *claim*.
    """
    issuer, tenant = claims.get("iss"), claims.get(claim)
    if not isinstance(issuer, str) or not any(_has_form(name, issuer) for name in issuers):
        if isinstance(issuer, str) and PLACEHOLDER in issuer:
            # It would equal the configured template.
            raise InvalidIssuerError(
                f"issuer is {quoted(issuer)}, a template that nobody filled in, expected the issuer of one tenant",
                claim="iss",
                expected="the issuer of one tenant",
                actual=quoted(issuer),
            )
        check_issuer(claims, issuers)
    elif any(name != claim and name.lower() == claim for name in claims):
        raise ClaimError(f"the claim {claim} is there twice, in different letter case", claim=claim, expected="once", actual="twice")
    elif tenant is None:
        raise MissingClaimError(f"the claim {claim} is missing", claim=claim, expected="present", actual="absent")
    elif not is_guid(tenant):
        raise ClaimError(f"{claim} is {quoted(tenant)}, expected the GUID of a tenant", claim=claim, expected="a GUID", actual=quoted(tenant))
    elif not any(filled_in(name, tenant) == issuer for name in issuers) or _segment(issuer) != [tenant]:
        raise InvalidIssuerError(
            f"issuer is {quoted(issuer)}, expected that of the tenant in the claim {claim}, {quoted(tenant)}",
            claim="iss",
            expected=f"the issuer of tenant {quoted(tenant)}",
            actual=quoted(issuer),
        )


def is_published_for(key_issuer: str | None, claims: Claims, issuers: Collection[str], claim: str | None) -> bool:
    """Return whether a key that names *key_issuer* serves a token with these claims.

    Args:
        key_issuer: The issuer that the key's entry names; one that names none serves every token of the set's issuer.
        claims: Claims whose issuer was judged.
        issuers: Names and templates of the issuer: names of one issuer have one key set.
        claim: The claim that names the tenant, or None where nothing is filled in.
    """
    if key_issuer is None or not key_issuer.strip():
        return True
    tenant = None if claim is None else claims.get(claim)
    if not isinstance(tenant, str):
        return key_issuer in issuers
    published_for = filled_in(key_issuer, tenant)
    # Names of several tenants may be configured: a key of one of them is none of another's.
    return _segment(published_for) == [tenant] and any(filled_in(name, tenant) == published_for for name in issuers)


def _segment(issuer: str) -> list[str]:
    """Return the first segment of an issuer's path, in a list that is empty where there is none."""
    return issuer.split("/")[_SEGMENT : _SEGMENT + 1]


def _has_form(name: str, issuer: str) -> bool:
    before, placeholder, after = name.partition(PLACEHOLDER)
    if not placeholder:
        return name == issuer
    return issuer.startswith(before) and issuer.endswith(after) and is_guid(issuer[len(before) : len(issuer) - len(after)])
