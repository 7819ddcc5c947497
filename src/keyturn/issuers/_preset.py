"""How a preset becomes a validator: one client for the keys, one dialect, and the settings that all presets share.

Rules of this file:

1. A preset is data. It is handed to `TokenValidator` and `KeySetClient` as anybody could, and nothing here judges a token.
2. A setting that the caller gives wins over the preset's, whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack

from keyturn._reading import Source
from keyturn.client import KeySetClient
from keyturn.dialect import Dialect
from keyturn.errors import ClaimError, ConfigurationError, TokenTypeError, quoted
from keyturn.issuers.settings import Settings
from keyturn.validator import TokenValidator

Kind = Literal["access", "id"]

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_OF_CLIENT = ("policy", "fetcher", "store", "clock", "revoked", "on_event")
_SHOWN = 5


class PresetClient(KeySetClient):
    """A client for an issuer whose documents differ.

    Args:
        issuer: The issuer, as for `KeySetClient`.
        names: Further names that its discovery document may state.
        every_issuer: Whether keys that name another issuer are kept, because the dialect judges them token by token.
        settings: Those of `KeySetClient`.
    """

    def __init__(self, issuer: str, *, names: Collection[str] = (), every_issuer: bool = False, **settings: Any) -> None:
        self._names = frozenset(names)
        self._every_issuer = every_issuer
        super().__init__(issuer, **settings)

    def _adapted(self, source: Source) -> Source:
        return replace(source, names=self._names, every_issuer=self._every_issuer)


def build(
    issuer: str,
    *,
    audience: str | Collection[str],
    token_type: Kind = "access",  # noqa: S107 - a kind of token, not a secret
    names: Collection[str] | None = None,
    dialect: Dialect | None = None,
    discovery_url: str | None = None,
    jwks_url: str | None = None,
    document_names: Collection[str] = (),
    every_issuer: bool = False,
    **settings: Unpack[Settings],
) -> TokenValidator:
    """Return the validator of a preset.

    Args:
        issuer: The issuer, as its discovery document states it.
        audience: Who this service is.
        token_type: `"access"` or `"id"`.
        names: The names that `iss` may have; the issuer's own unless given.
        dialect: Where its tokens differ.
        discovery_url: Where its discovery document stands, if not where the issuer says.
        jwks_url: Where its key set stands, if no discovery document is to be read.
        document_names: Further names that its discovery document may state.
        every_issuer: Whether keys that name another issuer are kept for the dialect to judge.
        **settings: Settings that every preset takes.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    if token_type not in {"access", "id"}:
        raise ConfigurationError(f'token_type is {quoted(token_type)}, expected "access" or "id" (setting: token_type)')
    given: dict[str, Any] = dict(settings)
    of_client = {name: given.pop(name) for name in _OF_CLIENT if name in given}
    client = PresetClient(issuer, discovery_url=discovery_url, jwks_url=jwks_url, names=document_names, every_issuer=every_issuer, **of_client)
    return TokenValidator(client, audience=audience, issuer=issuer if names is None else names, token_type=token_type, dialect=dialect, **given)


def one_of(claim: str, allowed: Collection[str], setting: str, *, kind: bool = False, hint: str | None = None) -> Callable[[Mapping[str, Any]], None]:
    """Return a check that *claim* is there and is one of *allowed*, character by character.

    Args:
        claim: The claim.
        allowed: Its allowed values.
        setting: The setting to name where it is another.
        kind: Whether the claim tells kinds of tokens apart.
        hint: A sentence for the person who can act.
    """
    names, error = frozenset(allowed), TokenTypeError if kind else ClaimError
    expected = " or ".join(quoted(name) for name in sorted(names)[:_SHOWN])

    def judge(claims: Mapping[str, Any]) -> None:
        value = claims.get(claim)
        if not isinstance(value, str) or value not in names:
            raise error(
                f"{claim} is {quoted(value)}, expected {expected} (setting: {setting})",
                claim=claim,
                expected=expected,
                actual=quoted(value),
                hint=hint,
            )

    return judge


def texts(value: object, setting: str, example: str) -> tuple[str, ...]:
    """Return one text or several as a tuple without repetition, in their order.

    Raises:
        ConfigurationError: It is neither, or empty.
    """
    given = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)) else ()
    if not given or not all(isinstance(text, str) and text.strip() for text in given):
        raise ConfigurationError(f'{setting} is {quoted(value)}, expected text or a list of texts, for example "{example}" (setting: {setting})')
    return tuple(dict.fromkeys(given))


def host(value: object, setting: str, example: str) -> str:
    """Return a host name as it is.

    Raises:
        ConfigurationError: It is none; a URL, for example.
    """
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise ConfigurationError(f'{setting} is {quoted(value)}, expected the name of a host alone, for example "{example}" (setting: {setting})')
    return value


def word(value: object, setting: str, example: str) -> str:
    """Return a name that becomes a part of a URL as it is.

    Raises:
        ConfigurationError: It would change what the URL means.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._~-]+", value) or not value.strip("."):
        raise ConfigurationError(f'{setting} is {quoted(value)}, expected a name such as "{example}" (setting: {setting})')
    return value
