"""Google accounts: ID tokens. Google's access tokens are opaque and cannot be validated with a published key.

The issuer is written with and without `https://`; `hd` names the Workspace or Cloud organization of the account (Google Identity
documentation, "OpenID Connect", section "Validating an ID token").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn.dialect import Dialect
from keyturn.issuers._preset import build, one_of, texts
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator

_NAMES = ("https://accounts.google.com", "accounts.google.com")


def validator(*, audience: str | Collection[str], hosted_domain: str | Collection[str] | None = None, **settings: Unpack[Settings]) -> TokenValidator:
    """Return the validator of Google's ID tokens.

    Args:
        audience: Client ids of this service.
        hosted_domain: Domains of the organizations whose accounts are accepted; those of anybody unless given.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    domains = () if hosted_domain is None else texts(hosted_domain, "hosted_domain", "example.com")
    dialect = Dialect(checks=(one_of("hd", domains, "hosted_domain"),) if domains else ())
    return build(_NAMES[0], audience=audience, token_type="id", names=_NAMES, dialect=dialect, **settings)  # noqa: S106 - a kind of token, not a secret
