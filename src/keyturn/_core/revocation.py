"""Revocations as entries that only ever gain (R11).

Rules of this file:

1. An entry says what holds for one *subject*: a key's thumbprint, or a kid that was named before any key was held under it.
2. For one subject the highest sequence wins; of two equal ones the revocation does.
3. Nothing is deleted: taking back is a further entry with a higher sequence.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from keyturn.errors import ConfigurationError, quoted

Kind = Literal["thumbprint", "kid"]
State = Literal["revoked", "reinstated"]

_HEX_LENGTHS = {40: 20, 64: 32}
_BASE64URL_LENGTHS = {27: 20, 43: 32}


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry.

    Attributes:
        kind: Whether *subject* is a thumbprint or a kid.
        subject: Thumbprint in base64url (RFC 7638, `x5t` or `x5t#S256`), or a kid.
        sequence: Milliseconds since the epoch when it was made, raised where needed to exceed every earlier one.
        state: What holds.
        kid: Kid of the key that *subject* names, where it is known.
    """

    kind: Kind
    subject: str
    sequence: int
    state: State
    kid: str | None = None


Revocations = Mapping[tuple[Kind, str], Revocation]
"""The winning entry of each subject."""


def merged(known: Revocations, entries: Iterable[Revocation]) -> Revocations:
    """Return *known* with *entries* taken in; the same object where nothing won."""
    result = dict(known)
    for entry in entries:
        held = result.get((entry.kind, entry.subject))
        if held is None or _rank(entry) > _rank(held):
            result[entry.kind, entry.subject] = entry
    return known if result == known else result


def _rank(entry: Revocation) -> tuple[int, bool]:
    return entry.sequence, entry.state != "reinstated"


def normal_thumbprint(text: object, setting: str = "thumbprint") -> str:
    """Return a thumbprint as base64url without padding.

    Accepts what operators have at hand: 20 or 32 bytes as base64url, or as hex in either case, with blanks or colons
    between, and with the invisible U+200E that certificate dialogs copy along.

    Raises:
        ConfigurationError: *text* is no such thumbprint.
    """
    if isinstance(text, str):
        plain = re.sub(r"[\s:\u200e]", "", text)
        if len(plain) in _HEX_LENGTHS and re.fullmatch(r"[0-9A-Fa-f]+", plain):
            return base64.urlsafe_b64encode(bytes.fromhex(plain)).rstrip(b"=").decode()
        if len(plain) in _BASE64URL_LENGTHS and re.fullmatch(r"[A-Za-z0-9_-]+", plain):
            try:
                raw = base64.urlsafe_b64decode(plain + "=")
            except binascii.Error:  # pragma: no cover - the lengths above always decode
                raw = b""
            if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == plain:
                return plain
    raise ConfigurationError(
        f"expected a thumbprint of 20 or 32 bytes in base64url or hex, got {quoted(text)} (setting: {setting})",
        hint="`keyturn keys ISSUER` prints the thumbprints of the published keys.",
    )
