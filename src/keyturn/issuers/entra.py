"""Microsoft Entra ID: one tenant, listed tenants or any tenant; both versions of tokens; every cloud; B2C; External ID.

Rules of this file:

1. Each version of each tenant is an issuer of its own, with its own discovery document, keys, allowance and validator (R15).
2. Any tenant is said in so many words, and uses the tenant-independent document: one client, whatever tenants tokens name. Listed
   tenants have a document each; their clients fetch with their first token. Nothing that a token says makes a client.
3. A key that names an issuer serves that issuer's tokens alone; one that names another cloud is told, or refused.
4. `removed_key_grace` is 6 hours, because Entra's front ends were seen to disagree for that long: a withdrawn key is refused after at
   most 30 hours (24 + 6), and after 54 over the longest outage that is tolerated. A policy that is given wins, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Unpack
from urllib.parse import urlencode

from keyturn import readings
from keyturn._core.policy import RolloverPolicy
from keyturn._core.tenant import PLACEHOLDER, is_guid, template_of
from keyturn.dialect import Dialect
from keyturn.errors import ClaimError, ConfigurationError, quoted
from keyturn.issuers._entra_rules import check_kind, check_login, issuer_hint, key_hint, policy_hint, policy_of, refuse_graph
from keyturn.issuers._preset import Kind, build, host, texts, word
from keyturn.issuers.settings import Settings
from keyturn.router import IssuerRouter, by_issuer
from keyturn.validator import TokenValidator

POLICY: Final = RolloverPolicy(removed_key_grace=21_600.0)
"""The policy unless one is given: the defaults, but a key that vanished serves on for 6 hours."""

PERSONAL_ACCOUNTS: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of personal Microsoft accounts; there are tokens of version 2 alone."""

_ALGORITHMS: Final = ("RS256",)
_HINT_TENANT: Final = (
    "The tenant's GUID stands in the portal as `Directory (tenant) ID`. Any tenant has to be said: entra.ANY_TENANT or entra.ANY_ORGANIZATION."
)


class AnyTenant(Enum):
    """Tenants that need not be listed. Whoever takes tokens of any tenant judges the tenant in its own code."""

    WORK_OR_PERSONAL = "common"
    WORK = "organizations"


ANY_TENANT: Final = AnyTenant.WORK_OR_PERSONAL
"""Tokens of every tenant, and of personal accounts; these have tokens of version 2 alone, so in version 1 it is `ANY_ORGANIZATION`."""

ANY_ORGANIZATION: Final = AnyTenant.WORK
"""Tokens of every tenant of an organisation; none of personal accounts."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where one of Entra's clouds is, and what its issuers are called.

    Attributes:
        host: Host of its documents.
        v1: Template of its issuers of version 1.
        v2: Template of its issuers of version 2.
        name: What its keys say in `cloud_instance_name`; None where that is not known.
    """

    host: str
    v1: str
    v2: str
    name: str | None = None


GLOBAL: Final = Cloud(
    "login.microsoftonline.com", "https://sts.windows.net/{tenantid}/", "https://login.microsoftonline.com/{tenantid}/v2.0", "microsoftonline.com"
)
"""The global cloud."""

US_GOVERNMENT: Final = Cloud(
    "login.microsoftonline.us", "https://sts.windows.net/{tenantid}/", "https://login.microsoftonline.us/{tenantid}/v2.0", "microsoftonline.us"
)
"""The cloud of the US Government."""

CHINA: Final = Cloud(
    "login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn/{tenantid}/", "https://login.partner.microsoftonline.cn/{tenantid}/v2.0"
)
"""The cloud in China, operated by 21Vianet. What its keys call it is not known, so `check_cloud` needs a `Cloud` with a `name`."""


def validator(
    tenant: str | AnyTenant,
    *,
    audience: str | Collection[str],
    version: int = 2,
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    cloud: Cloud = GLOBAL,
    appid: str | None = None,
    check_cloud: bool = False,
    authorize_by_acl: Collection[str] = (),
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one version of one tenant's tokens, or of any tenant's.

    Args:
        tenant: The tenant's GUID, `ANY_TENANT` or `ANY_ORGANIZATION`.
        audience: Who this service is: its client id for version 2, its App ID URI for version 1.
        version: Version of the tokens, 1 or 2. The manifest of the API's application decides it, not the endpoint that a client calls.
        token_type: `"access"`, or `"id"` for a login.
        cloud: The cloud that the tenant lives in.
        appid: The client id of an application with signing keys of its own (claims mapping, SAML).
        check_cloud: Whether keys that name another cloud are refused; else they are told by `CloudMismatch`.
        authorize_by_acl: Client ids whose own tokens need neither `scp` nor `roles`, for services that decide by a list of callers.
        **settings: Settings that every preset takes; `algorithms` is RS256 and `policy` is `POLICY` unless given.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    _check_settings(cloud, check_cloud)
    if version not in {1, 2}:
        raise ConfigurationError(f"version is {quoted(version)}, expected 1 or 2 (setting: version)")
    template = cloud.v1 if version == 1 else cloud.v2
    if isinstance(tenant, AnyTenant) and version == 1:
        # Keys of version 1 name no issuer, so nothing would tell a key of personal accounts in the document of `common` from others.
        tenant = ANY_ORGANIZATION
    name = tenant.value if isinstance(tenant, AnyTenant) else _tenant(tenant)
    one = None if isinstance(tenant, AnyTenant) else name
    dialect = _dialect(
        cloud.host,
        version,
        one,
        token_type=token_type,
        appid=appid,
        callers=authorize_by_acl,
        cloud=cloud.name,
        check_cloud=check_cloud,
        checks=(_refuse_personal,) if tenant is ANY_ORGANIZATION else (),
    )
    return build(
        template if one is None else template.replace(PLACEHOLDER, one),
        audience=audience,
        token_type=token_type,
        dialect=dialect,
        discovery_url=_document(cloud.host, name, version, appid),
        every_issuer=True,
        **_with_defaults(settings),
    )


def router(
    tenants: str | Iterable[str] | AnyTenant,
    *,
    audience: str | Collection[str],
    versions: Collection[int] = frozenset({1, 2}),
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    cloud: Cloud = GLOBAL,
    appid: str | None = None,
    check_cloud: bool = False,
    authorize_by_acl: Collection[str] = (),
    **settings: Unpack[Settings],
) -> IssuerRouter:
    """Return validators of several tenants, or of both versions of tokens, behind one door.

    Args:
        tenants: GUIDs of the tenants whose tokens are accepted, `ANY_TENANT` or `ANY_ORGANIZATION`.
        audience: Who this service is. With both versions, its client id and its App ID URI.
        versions: Versions of tokens: 1, 2 or both.
        token_type: As for `validator()`.
        cloud: As for `validator()`.
        appid: As for `validator()`.
        check_cloud: As for `validator()`.
        authorize_by_acl: As for `validator()`.
        **settings: As for `validator()`.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    listed = [tenants] if isinstance(tenants, AnyTenant) else sorted({_tenant(tenant) for tenant in texts(tenants, "tenants", PERSONAL_ACCOUNTS)})
    if isinstance(versions, (str, bytes)) or not isinstance(versions, Iterable) or not set(versions) or not set(versions) <= {1, 2}:
        raise ConfigurationError("versions holds something else than 1 and 2, expected {1}, {2} or {1, 2} (setting: versions)")
    validators = [
        validator(
            tenant,
            audience=audience,
            version=version,
            token_type=token_type,
            cloud=cloud,
            appid=appid,
            check_cloud=check_cloud,
            authorize_by_acl=authorize_by_acl,
            **settings,
        )
        for tenant in listed
        for version in sorted(set(versions))
    ]
    return IssuerRouter(*validators, route=by_template if isinstance(tenants, AnyTenant) else by_issuer)


def by_template(unverified_claims: Mapping[str, Any]) -> object:
    """Return the claim `iss` with `{tenantid}` in the place of a tenant: the route of validators of any tenant, beside those of other issuers."""
    issuer = unverified_claims.get("iss")
    return template_of(issuer) if isinstance(issuer, str) else issuer


def b2c(
    name: str,
    tenant: str,
    policies: str | Iterable[str],
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    custom_domain: str | None = None,
    issuer_with_policy: bool = False,
    **settings: Unpack[Settings],
) -> IssuerRouter:
    """Return validators of Azure AD B2C, one for each policy (user flow), which shares nothing but the issuer's name with the others.

    Args:
        name: Name of the B2C tenant, the `contoso` of `contoso.onmicrosoft.com`.
        tenant: The tenant's GUID.
        policies: Policies whose tokens are accepted, for example `B2C_1_sign_in`. A token says in `tfp`, or in `acr`, which one it is of.
        audience: Client id of this service.
        token_type: `"access"`, or `"id"` for a login.
        custom_domain: Host of the documents and issuers, if it is not `<name>.b2clogin.com`.
        issuer_with_policy: Whether issuers name their policy (the claim compatibility setting `tfp`).
        **settings: Settings that every preset takes; `algorithms` is RS256 and `policy` is `POLICY` unless given.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    word(name, "name", "contoso")
    place = f"{name}.b2clogin.com" if custom_domain is None else host(custom_domain, "custom_domain", "login.example.com")
    guid = _tenant(tenant)
    validators = []
    for policy in texts(policies, "policies", "B2C_1_sign_in"):
        word(policy, "policies", "B2C_1_sign_in")
        issuer = f"https://{place}/tfp/{guid}/{policy}/v2.0/" if issuer_with_policy else f"https://{place}/{guid}/v2.0/"
        dialect = Dialect(
            scopes=readings.SCP,
            clients=readings.AZP,
            checks=(_of_policy(policy), *((check_login,) if token_type == "id" else ())),  # noqa: S105 - a kind of token, not a secret
            first_checks=(refuse_graph,),
            route_claims={"tfp": policy},
            issuer_hint=policy_hint(issuer),
        )
        url = f"https://{place}/{name}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration"
        made = build(issuer, audience=audience, token_type=token_type, dialect=dialect, discovery_url=url, **_with_defaults(settings))
        validators.append(made)
    return IssuerRouter(*validators, route=by_policy)


def by_policy(unverified_claims: Mapping[str, Any]) -> object:
    """Return the claim `iss` and the policy in `tfp`, else in `acr`, without regard to its letter case; for validators of `b2c()`."""
    issuer, policy = unverified_claims.get("iss"), policy_of(unverified_claims)
    return f"{issuer} {policy.lower()}" if isinstance(issuer, str) and isinstance(policy, str) else None


def external_id(
    subdomain: str,
    tenant: str,
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    appid: str | None = None,
    authorize_by_acl: Collection[str] = (),
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of an external tenant (Entra External ID).

    Its issuer is named after the tenant's GUID or after the subdomain; these two names are accepted, and no other.

    Args:
        subdomain: The `contoso` of `contoso.ciamlogin.com`.
        tenant: The tenant's GUID.
        audience: Client id of this service.
        token_type: `"access"`, or `"id"` for a login.
        appid: As for `validator()`.
        authorize_by_acl: As for `validator()`.
        **settings: As for `validator()`.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    word(subdomain, "subdomain", "contoso")
    guid, place = _tenant(tenant), f"{subdomain}.ciamlogin.com"
    names = (f"https://{guid}.ciamlogin.com/{guid}/v2.0", f"https://{place}/{guid}/v2.0")
    dialect = _dialect(place, 2, guid, token_type=token_type, appid=appid, callers=authorize_by_acl)
    return build(
        names[0],
        audience=audience,
        token_type=token_type,
        names=names,
        dialect=dialect,
        discovery_url=_document(place, guid, 2, appid),
        document_names=names,
        every_issuer=True,
        **_with_defaults(settings),
    )


def _dialect(
    place: str,
    version: int,
    tenant: str | None,
    *,
    token_type: Kind,
    appid: str | None,
    callers: Collection[str],
    cloud: str | None = None,
    check_cloud: bool = False,
    checks: tuple[Callable[[Mapping[str, Any]], None], ...] = (),
) -> Dialect:
    """Return where tokens of one version differ from the general rules."""
    listed = texts(callers, "authorize_by_acl", "6e74172b-be56-4843-9ff4-e66a39bb12e3") if callers else ()
    return Dialect(
        tenant_claim="tid",
        scopes=readings.SCP,
        clients=readings.APPID if version == 1 else readings.AZP,
        checks=(check_login if token_type == "id" else check_kind(version, listed), *checks),  # noqa: S105 - a kind of token, not a secret
        first_checks=(refuse_graph,),
        cloud=cloud,
        check_cloud=check_cloud,
        issuer_hint=issuer_hint(place, version, tenant),
        key_hint=key_hint(version, appid),
    )


def _document(place: str, tenant: str, version: int, appid: str | None) -> str:
    if appid is not None and not is_guid(appid):
        raise ConfigurationError(f"appid is {quoted(appid)}, expected the GUID of an application (setting: appid)")
    query = "" if appid is None else "?" + urlencode({"appid": appid})
    return f"https://{place}/{tenant}{'/v2.0' if version == 2 else ''}/.well-known/openid-configuration{query}"  # noqa: PLR2004 - its name is its number


def _tenant(tenant: object) -> str:
    if not isinstance(tenant, str) or not is_guid(tenant):
        raise ConfigurationError(f"tenant is {quoted(tenant)}, expected the GUID of a tenant (setting: tenant)", hint=_HINT_TENANT)
    # Entra writes GUIDs in lower case, and issuers are compared character by character.
    return tenant.lower()


def _check_settings(cloud: object, check_cloud: object) -> None:
    if not isinstance(cloud, Cloud):
        raise ConfigurationError(f"cloud is {quoted(cloud)}, expected entra.GLOBAL, entra.US_GOVERNMENT, entra.CHINA or a Cloud (setting: cloud)")
    if check_cloud and cloud.name is None:
        raise ConfigurationError(
            f"check_cloud is set, and what keys of {quoted(cloud.host)} call their cloud is not known (settings: check_cloud, cloud)",
            hint="Read `cloud_instance_name` in its discovery document, and give a `Cloud` with that `name`.",
        )


def _with_defaults(settings: Settings) -> Settings:
    merged: Settings = {"algorithms": _ALGORITHMS, **settings}
    if merged.get("policy") is None:
        merged["policy"] = POLICY
    return merged


def _refuse_personal(claims: Mapping[str, Any]) -> None:
    # A GUID in capitals is the same GUID; what is refused must not depend on how it is written.
    if claims["tid"].lower() == PERSONAL_ACCOUNTS:
        raise ClaimError(
            "the token is of a personal Microsoft account, expected one of an organisation (setting: tenant)",
            claim="tid",
            expected="the tenant of an organisation",
            actual=quoted(claims["tid"]),
        )


def _of_policy(expected: str) -> Callable[[Mapping[str, Any]], None]:
    def judge(claims: Mapping[str, Any]) -> None:
        policy = policy_of(claims)
        if not isinstance(policy, str) or policy.lower() != expected.lower():
            raise ClaimError(
                f"the token is of policy {quoted(policy)}, expected {quoted(expected)} (setting: policies)",
                claim="tfp",
                expected=quoted(expected),
                actual=quoted(policy),
            )

    return judge
