"""AD FS with OpenID Connect (Windows Server 2016 and later).

Rules of this file:

1. ID tokens carry the issuer of the discovery document. Access tokens carry another name, the `access_token_issuer` of that document,
   which is a name and never fetched. Both are names of one key set.
2. The names are configuration: exact texts, so that neither a document nor a restart changes who is trusted. Without one, the two
   spellings of the name that AD FS gives itself are accepted.
3. Tokens may name their key by `x5t` alone. During a rollover two certificates are published in either order, without a mark; both
   verify.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from keyturn import readings
from keyturn._core.location import host_of
from keyturn.dialect import Dialect
from keyturn.errors import ConfigurationError, quoted
from keyturn.issuers._preset import Kind, build, texts
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator

_DIALECT = Dialect(scopes=readings.SCP + readings.SCOPE, clients=readings.APPID + readings.CLIENT_ID + readings.AZP)


def validator(
    issuer: str,
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    access_token_issuer: str | Collection[str] | None = None,
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of one AD FS.

    Args:
        issuer: The `issuer` of its discovery document, for example `https://fs.example.com/adfs`.
        audience: Who this service is: the identifier of the web API, or the client id for ID tokens.
        token_type: `"access"`, or `"id"` for a login.
        access_token_issuer: The `access_token_issuer` of its discovery document, or several names. Unless given: the host of *issuer*
            with `/adfs/services/trust`, with `http` or `https`. Where the document has none, give *issuer*.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    if token_type == "id":  # noqa: S105 - a kind of token, not a secret
        if access_token_issuer is not None:
            raise ConfigurationError("access_token_issuer is given for ID tokens, which carry the issuer itself (setting: access_token_issuer)")
        return build(issuer, audience=audience, token_type=token_type, dialect=_DIALECT, **settings)
    names = _built(issuer) if access_token_issuer is None else texts(access_token_issuer, "access_token_issuer", _EXAMPLE)
    return build(issuer, audience=audience, token_type=token_type, names=names, dialect=_DIALECT, **settings)


_EXAMPLE = "http://fs.example.com/adfs/services/trust"


def _built(issuer: object) -> tuple[str, ...]:
    """Return both names that an AD FS at the host of *issuer* gives itself unless somebody changed it."""
    if not isinstance(issuer, str) or not host_of(issuer):
        raise ConfigurationError(f'issuer is {quoted(issuer)}, expected a URL such as "https://fs.example.com/adfs" (setting: issuer)')
    return tuple(f"{scheme}://{host_of(issuer)}/adfs/services/trust" for scheme in ("http", "https"))
