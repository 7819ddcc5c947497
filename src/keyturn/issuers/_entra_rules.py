"""What Microsoft Entra's tokens are told by: kinds of token, Microsoft Graph's own, and the hints for those that belong elsewhere.

Rules of this file:

1. Everything here reads unverified claims, and refuses or advises; nothing accepts a token.
2. A token of Microsoft Graph is for Graph alone. Its signature is made over a changed header, and to undo the change would be to
   accept somebody else's token.
3. An ID token has the audience and the `typ` of an access token of the same registration, so claims tell them apart: an access token
   has `azp` (v2) or `appid` (v1), and `scp` or `roles`; an ID token has no `scp`, no `appid` and no `idtyp`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from keyturn._core.claims import foreign, names_of
from keyturn._core.tenant import is_guid
from keyturn.errors import GraphTokenError, TokenTypeError, quoted

Claims = Mapping[str, Any]

GRAPH: Final = frozenset(
    {
        "00000003-0000-0000-c000-000000000000",
        "https://graph.microsoft.com",
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
        "https://graph.windows.net",
    }
)
"""Audiences of Microsoft Graph in every cloud, without the slash at the end that some tokens have."""

_CLIENT_CLAIM = {1: "appid", 2: "azp"}
_VERSION_OF = {"1.0": 1, "2.0": 2}
_CLOUD_OF_HOST = {
    "login.microsoftonline.com": "the global cloud",
    "login.windows.net": "the global cloud",
    "login.microsoftonline.us": "the US Government cloud",
    "login.partner.microsoftonline.cn": "the cloud in China",
    "sts.chinacloudapi.cn": "the cloud in China",
    "login.chinacloudapi.cn": "the cloud in China",
}
_HOSTS = frozenset({"sts.windows.net", *_CLOUD_OF_HOST})
_NEVER_AT_LOGIN = ("scp", "appid", "idtyp")


def refuse_graph(header: Claims, claims: Claims) -> None:
    """Name a token that was issued for Microsoft Graph, or for another API of Microsoft's.

    Raises:
        GraphTokenError: The audience is Graph, or the header has the `nonce` that their tokens alone have.
    """
    audience = claims.get("aud")
    named = [name for name in (audience if isinstance(audience, list) else [audience]) if isinstance(name, str)]
    if "nonce" not in header and not any(name.removesuffix("/") in GRAPH for name in named):
        return
    raise GraphTokenError(
        f"the token was issued for Microsoft Graph or another API of Microsoft's: audience is {quoted(audience)} (setting: audience)",
        claim="aud",
        expected="the audience of this service",
        actual=quoted(audience),
        hint="Request a token for your own API: ask for the scope `api://<client id>/<scope>`, or `<client id>/.default`.",
    )


def check_kind(version: int, callers: Collection[str]) -> Callable[[Claims], None]:
    """Return the check that a token is an access token, so that nobody signs in to an API with an ID token.

    Args:
        version: Version of the tokens, 1 or 2.
        callers: Client ids whose tokens need neither `scp` nor `roles`.
    """
    client_claim, allowed = _CLIENT_CLAIM[version], frozenset(callers)

    def judge(claims: Claims) -> None:
        client = claims.get(client_claim)
        if not isinstance(client, str) or not client:
            raise TokenTypeError(
                f"the claim {client_claim} is missing, which every access token of version {version} has (setting: token_type)",
                claim=client_claim,
                expected="present",
                actual=quoted(client),
                hint="An ID token was sent to an API. The client must send the access token.",
            )
        if names_of(claims.get("scp")) or names_of(claims.get("roles")):
            return
        # A user's token never lacks scp, so who is listed here calls as itself; idtyp says so where it was asked for.
        if client in allowed and claims.get("idtyp") in (None, "app"):
            return
        raise TokenTypeError(
            "the token has neither scp nor roles, one of which every access token has (setting: authorize_by_acl)",
            claim="scp",
            expected="scp or roles",
            actual="absent",
            hint="Give the application a role, or name it in `authorize_by_acl` if you decide by a list of callers.",
        )

    return judge


def check_login(claims: Claims) -> None:
    """Refuse an access token at a login: ID tokens have no `scp`, and an application's own token, which has none either, has others.

    Raises:
        TokenTypeError: There is one.
    """
    for claim in _NEVER_AT_LOGIN:
        if claim in claims:
            raise foreign(claim, "ID", "An access token was sent to a login.")


def policy_of(claims: Claims) -> object:
    """Return what a token of B2C says of its policy: `tfp`, in older flows `acr`."""
    policy = claims.get("tfp")
    return claims.get("acr") if policy is None else policy


def policy_hint(expected: str) -> Callable[[Claims], str | None]:
    """Return what says that a token is of a policy that nobody listed.

    Args:
        expected: Issuer of a policy that is listed.
    """

    def hint(claims: Claims) -> str | None:
        if claims.get("iss") != expected:
            return None
        policy = policy_of(claims)
        if not isinstance(policy, str) or not policy:
            return "The token says neither in `tfp` nor in `acr` which policy it is of."
        return f"The token is of policy {quoted(policy)}: name it in `policies` if its tokens are to be accepted."

    return hint


def issuer_hint(authority: str, version: int, tenant: str | None) -> Callable[[Claims], str | None]:
    """Return what says where a token belongs whose issuer was refused.

    Args:
        authority: Host that is configured.
        version: Version of the tokens that are expected, 1 or 2.
        tenant: Tenant that is configured, or None for any.
    """

    def hint(claims: Claims) -> str | None:
        issuer = claims.get("iss")
        if not isinstance(issuer, str):
            return None
        host = _host(issuer)
        found = [_of_another_authority(host, authority), _of_another_version(_version(claims, issuer), version), _of_another_tenant(claims, tenant)]
        return " ".join(text for text in found if text) or None

    return hint


def key_hint(version: int, appid: str | None) -> Callable[[Claims], str | None]:
    """Return what says why a key may be unknown.

    Args:
        version: Version of the documents that are read, 1 or 2.
        appid: The application whose keys are read, or None for the tenant's.
    """

    def hint(claims: Claims) -> str | None:
        own = None
        if appid is None:
            own = "The application may have signing keys of its own (claims mapping, SAML): set `appid` to its client id."
        return " ".join(text for text in (own, _of_another_version(_version(claims, ""), version)) if text) or None

    return hint


def _of_another_authority(host: str | None, authority: str) -> str | None:
    if host is None:
        return None
    ours, theirs = _CLOUD_OF_HOST.get(authority), _CLOUD_OF_HOST.get(host)
    # Only an authority of Microsoft's is recommended: `iss` is whatever the sender wrote.
    theirs_external, ours_external = host.endswith(".ciamlogin.com"), authority.endswith(".ciamlogin.com")
    if theirs_external != ours_external and (theirs_external or host in _HOSTS):
        return f"The token is of authority {quoted(host)}, which has other keys for the same tenant: use the authority that issued the token."
    if host.endswith(".b2clogin.com"):
        return f"The token is of Azure AD B2C at {quoted(host)}: use `entra.b2c()`."
    if theirs is not None and theirs != ours:
        return f"The token is of {theirs}: set `cloud`."
    return None


def _version(claims: Claims, issuer: str) -> int | None:
    """Return which version a token says that it is, or what its issuer looks like; a hint only."""
    stated = claims.get("ver")
    if isinstance(stated, str) and stated in _VERSION_OF:
        return _VERSION_OF[stated]
    # Issuers of version 1 are called after sts.windows.net in more than one cloud, so this host says nothing of the cloud.
    if _host(issuer) not in _HOSTS:
        return None
    return 2 if issuer.endswith(("/v2.0", "/v2.0/")) else 1


def _of_another_version(found: int | None, expected: int) -> str | None:
    if found is None or found == expected:
        return None
    manifest = ", or set `accessTokenAcceptedVersion` (`api.requestedAccessTokenVersion`) to 2 in the application's manifest" if found == 1 else ""
    return f"The token is of version {found}, and version {expected} is expected: accept both with `versions={{1, 2}}`{manifest}."


def _host(issuer: str) -> str | None:
    try:
        return urlsplit(issuer).hostname
    except ValueError:
        return None


def _of_another_tenant(claims: Claims, tenant: str | None) -> str | None:
    stated = claims.get("tid")
    if tenant is None or not is_guid(stated) or stated == tenant:
        return None
    return f"The token is of tenant {quoted(stated)}, and {quoted(tenant)} is configured."
