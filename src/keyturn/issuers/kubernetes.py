"""Service accounts of a Kubernetes cluster: projected tokens with an audience.

The subject is `system:serviceaccount:<namespace>:<name>`; the API server publishes discovery and keys at `/.well-known/openid-configuration`
and `/openid/v1/jwks` (Kubernetes documentation, "Managing Service Accounts" and "Configure Service Accounts for Pods").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn.dialect import Dialect
from keyturn.errors import ConfigurationError, quoted
from keyturn.issuers._preset import build, one_of, texts
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator


def validator(
    issuer: str,
    *,
    audience: str | Collection[str],
    service_accounts: str | Collection[str] | None = None,
    discovery_url: str | None = None,
    jwks_url: str | None = None,
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one cluster's service accounts.

    Args:
        issuer: What the API server was started with (`--service-account-issuer`).
        audience: The audience that pods ask for in their projected volume.
        service_accounts: `namespace/name` of the accounts that are accepted; every account of the cluster unless given.
        discovery_url: Where the discovery document is reached, if not where the issuer says.
        jwks_url: Where the key set is reached, if no discovery document is to be read.
        **settings: Settings that every preset takes. A private CA belongs to the `fetcher`.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    subjects = [] if service_accounts is None else [_subject(name) for name in texts(service_accounts, "service_accounts", "shop/orders")]
    dialect = Dialect(checks=(one_of("sub", subjects, "service_accounts"),) if subjects else ())
    return build(issuer, audience=audience, dialect=dialect, discovery_url=discovery_url, jwks_url=jwks_url, **settings)


def _subject(name: str) -> str:
    namespace, slash, account = name.partition("/")
    if not (namespace and slash and account) or "/" in account or ":" in name:
        raise ConfigurationError(f'service_accounts has {quoted(name)}, expected "namespace/name" (setting: service_accounts)')
    return f"system:serviceaccount:{namespace}:{account}"
