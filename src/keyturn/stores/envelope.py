"""Envelopes for what a store keeps, which only a holder of the application's secret can make.

Rules of this file:

1. Whoever writes a store chooses the signing keys. So every envelope is sealed with HMAC-SHA256 under an application secret.
2. The seal covers every byte that follows it and is checked before any of them is parsed.
3. Version, kind of record and source are inside. An envelope can be moved neither to another client (R15) nor to another use.
4. One defect refuses the whole envelope: size, seal, version, a missing or unknown field, a wrong type. The error is always `EnvelopeError`.
5. What could not be read back is not written.

An envelope is one JSON object in ASCII whose first member is the seal: `{"seal":"hmac-sha256:…","version":1,…}`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, Protocol, cast

from keyturn._core import base64url
from keyturn._core.revocation import Kind, Revocation, State
from keyturn._core.strict_json import NotStrictJSONError, parse_token_part
from keyturn.errors import ConfigurationError, quoted
from keyturn.stores.store import Snapshot, Stored

VERSION = 1
"""Version of the format; any other is ignored, since half of it would be misunderstood."""

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Longest envelope of a document: six times what a client fetches by default, base64 included."""

MAX_ENTRY_BYTES = 16 * 1024
"""Longest envelope of one small record: a kid of 256 characters, escaped, takes 1.5 KiB."""

MIN_SECRET_BYTES = 16
"""Shortest secret: 128 bits, below which it could be found by trying."""

_LARGEST_INTEGER = 2**63 - 1
_FRAME = re.compile(rb'\{"seal":"((?:hmac-)?sha256:[0-9a-f]{64})",')
_COMMON = frozenset({"version", "record", "source"})
_DOCUMENT = frozenset({"issuer", "location", "keys_url", "asked_at", "max_age", "body", "fence"})
_REVOCATION = frozenset({"kind", "subject", "sequence", "state", "kid"})


class EnvelopeError(ValueError):
    """Something in a store cannot be used; the message says why and shows nothing of the content but names."""


class Sealer(Protocol):
    """Marks bytes, and tells whether a mark belongs to them."""

    def mark(self, text: bytes) -> str:
        """Return the mark of *text*."""
        ...

    def opens(self, text: bytes, mark: str) -> bool:
        """Return whether *mark* belongs to *text*."""
        ...

    def is_current(self, text: bytes, mark: str) -> bool:
        """Return whether *mark* is what `mark()` returns today: false for one made under an older secret."""
        ...


class Seal:
    """HMAC-SHA256 under one or several application secrets.

    The first secret seals, all of them open, so that the secret itself can roll: put the new one first, and take the
    old one away after every process has published once. Each secret is stretched over a label of ours, so that a
    secret which an application uses elsewhere too gives no mark that is good there.

    Args:
        secrets: One secret or several, each text or bytes, at least 16 bytes long.

    Raises:
        ConfigurationError: No secret, or one of another type or too short.
    """

    __slots__ = ("_keys",)

    def __init__(self, secrets: str | bytes | Sequence[str | bytes]) -> None:
        listed: object = (secrets,) if isinstance(secrets, (str, bytes)) else secrets
        if not isinstance(listed, (list, tuple)):
            raise _bad_secret(f"text, bytes or a list of them, got {quoted(type(listed).__name__)}")
        if not listed:
            raise _bad_secret("at least one secret, got an empty list")
        self._keys = tuple(_derived(secret) for secret in listed)

    def __repr__(self) -> str:
        return f"<Seal of {len(self._keys)} secrets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Seal holds secrets and cannot be pickled; build it in each process")

    def mark(self, text: bytes) -> str:
        """Return the mark of *text* under the first secret."""
        return _hmac(self._keys[0], text)

    def opens(self, text: bytes, mark: str) -> bool:
        """Return whether *mark* belongs to *text* under any of the secrets."""
        return any(hmac.compare_digest(_hmac(key, text), mark) for key in self._keys)

    def is_current(self, text: bytes, mark: str) -> bool:
        """Return whether *mark* belongs to *text* under the first secret."""
        return hmac.compare_digest(self.mark(text), mark)


class _Unsealed:
    """A checksum in the place of a seal: it finds damage, and keeps nobody out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNSEALED"

    def mark(self, text: bytes) -> str:
        return f"sha256:{hashlib.sha256(text).hexdigest()}"

    def opens(self, text: bytes, mark: str) -> bool:
        return mark == self.mark(text)

    is_current = opens


UNSEALED: Final[Sealer] = _Unsealed()
"""No secret: for stores that nobody but the application can write. It opens nothing sealed, and no seal opens it."""


def encode_document(stored: Stored, source: str, sealer: Sealer) -> bytes:
    """Return the envelope of a snapshot and its fence.

    Raises:
        EnvelopeError: It would be too large, or could not be read back.
    """
    snapshot = stored.snapshot
    fields = {
        "issuer": snapshot.issuer,
        "location": snapshot.location,
        "keys_url": snapshot.keys_url,
        "asked_at": snapshot.asked_at,
        "max_age": snapshot.max_age,
        "body": base64url.encode(snapshot.body),
        "fence": stored.fence,
    }
    data = enclose(fields, "document", source, sealer)
    _document(open_envelope(data, "document", source, sealer, members=_DOCUMENT, limit=MAX_DOCUMENT_BYTES))
    return data


def decode_document(data: bytes, source: str, sealer: Sealer) -> Stored:
    """Return the snapshot and the fence that *data* holds.

    Raises:
        EnvelopeError: *data* is no envelope of a document of *source*, or its seal does not open.
    """
    return _document(open_envelope(data, "document", source, sealer, members=_DOCUMENT, limit=MAX_DOCUMENT_BYTES))


def encode_revocation(entry: Revocation, source: str, sealer: Sealer) -> bytes:
    """Return the envelope of one revocation.

    Raises:
        EnvelopeError: It would be too large, or could not be read back.
    """
    fields = {"kind": entry.kind, "subject": entry.subject, "sequence": entry.sequence, "state": entry.state, "kid": entry.kid}
    data = enclose(fields, "revocation", source, sealer)
    decode_revocation(data, source, sealer)
    return data


def decode_revocation(data: bytes, source: str, sealer: Sealer) -> Revocation:
    """Return the revocation that *data* holds.

    Raises:
        EnvelopeError: *data* is no envelope of a revocation of *source*, or its seal does not open.
    """
    fields = open_envelope(data, "revocation", source, sealer, members=_REVOCATION)
    return Revocation(
        kind=cast("Kind", _choice(fields, "kind", ("thumbprint", "kid"))),  # The choice has checked the literal.
        subject=text(fields, "subject"),
        sequence=integer(fields, "sequence"),
        state=cast("State", _choice(fields, "state", ("revoked", "reinstated"))),  # As above.
        kid=None if fields["kid"] is None else text(fields, "kid"),
    )


def enclose(fields: Mapping[str, object], record: str, source: str, sealer: Sealer) -> bytes:
    """Return the envelope of *fields*.

    Args:
        fields: JSON values by name.
        record: Kind of record, which stands inside the seal.
        source: Client that it belongs to (`source_id()`), which stands inside the seal.
        sealer: A `Seal`, or `UNSEALED`.

    Raises:
        EnvelopeError: *fields* holds something that JSON has no form for.
    """
    whole = {"version": VERSION, "record": record, "source": source, **fields}
    try:
        # The brace is cut off because the seal takes its place as the first member.
        sealed = json.dumps(whole, allow_nan=False, separators=(",", ":")).encode()[1:]
    except (TypeError, ValueError) as error:
        raise EnvelopeError(f"expected fields that JSON can hold in the {record}, got {quoted(str(error))}") from error
    return f'{{"seal":"{sealer.mark(sealed)}",'.encode() + sealed


def is_current(data: bytes, sealer: Sealer) -> bool:
    """Return whether the envelope *data* is sealed as a new one would be; false asks for sealing it anew."""
    frame = _FRAME.match(data)
    return frame is not None and sealer.is_current(data[frame.end() :], frame[1].decode())


def open_envelope(
    data: bytes, record: str, source: str, sealer: Sealer, *, members: frozenset[str], limit: int = MAX_ENTRY_BYTES
) -> dict[str, object]:
    """Return the fields of an envelope, of which the names are checked and the types are not.

    Args:
        data: The envelope.
        record: Kind of record that is expected.
        source: Client that it must belong to.
        sealer: A `Seal`, or `UNSEALED`.
        members: Names that the record has, neither more nor less.
        limit: Bytes above which it is refused.

    Raises:
        EnvelopeError: By rules 2 to 4 of this file.
    """
    if len(data) > limit:
        raise EnvelopeError(f"{record} has {len(data)} bytes, expected at most {limit}")
    frame = _FRAME.match(data)
    if frame is None:
        raise EnvelopeError(f"{record} is not an envelope of keyturn: empty, cut at its start, or something else")
    sealed = data[frame.end() :]
    if not sealer.opens(sealed, frame[1].decode()):
        raise EnvelopeError(f"seal of the {record} does not open: written under another secret, changed, or cut (setting: secret)")
    try:
        fields = parse_token_part(b"{" + sealed)
    except NotStrictJSONError as error:
        raise EnvelopeError(f"{record} is not one JSON object: {error}") from error
    _check_names(fields, record, source, members)
    return cast("dict[str, object]", fields)  # A text that starts with a brace parses as an object or not at all.


def _check_names(fields: dict[str, object], record: str, source: str, members: frozenset[str]) -> None:
    version = fields.get("version")
    if type(version) is not int or version != VERSION:
        raise EnvelopeError(f"version of the {record} is {quoted(version)}, expected {VERSION}")
    if fields.get("record") != record:
        raise EnvelopeError(f"record is {quoted(fields.get('record'))}, expected {quoted(record)}")
    if fields.get("source") != source:
        raise EnvelopeError(f"{record} belongs to the source {quoted(fields.get('source'))}, expected {quoted(source)}")
    if unknown := sorted(fields.keys() - members - _COMMON):
        raise EnvelopeError(f"{record} has fields that this version does not know: {quoted(unknown)}")
    if missing := sorted(members - fields.keys()):
        raise EnvelopeError(f"{record} lacks {quoted(missing)}")


def _document(fields: Mapping[str, object]) -> Stored:
    try:
        body = base64url.decode(text(fields, "body").encode())
    except ValueError as error:
        raise EnvelopeError(f"body of the document is not base64url: {error}") from error
    snapshot = Snapshot(
        issuer=text(fields, "issuer"),
        location=text(fields, "location"),
        keys_url=text(fields, "keys_url"),
        asked_at=number(fields, "asked_at"),
        body=body,
        max_age=None if fields["max_age"] is None else number(fields, "max_age"),
    )
    return Stored(snapshot, integer(fields, "fence"))


def text(fields: Mapping[str, object], name: str) -> str:
    """Return the field *name*, a text.

    Raises:
        EnvelopeError: It is no text.
    """
    value = fields[name]
    if not isinstance(value, str):
        raise EnvelopeError(f"{name} is {quoted(value)}, expected a text")
    return value


def integer(fields: Mapping[str, object], name: str) -> int:
    """Return the field *name*, an integer from 0 to 2^63-1.

    Raises:
        EnvelopeError: It is no such integer.
    """
    value = fields[name]
    if type(value) is not int or not 0 <= value <= _LARGEST_INTEGER:
        raise EnvelopeError(f"{name} is {quoted(value)}, expected an integer from 0 to 2^63-1")
    return value


def number(fields: Mapping[str, object], name: str) -> float:
    """Return the field *name*, seconds from 0 to 2^63-1.

    Raises:
        EnvelopeError: It is no such number.
    """
    value = fields[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= _LARGEST_INTEGER:
        raise EnvelopeError(f"{name} is {quoted(value)}, expected seconds, zero or more")
    return float(value)


def _choice(fields: Mapping[str, object], name: str, allowed: tuple[str, ...]) -> str:
    value = fields[name]
    if not isinstance(value, str) or value not in allowed:
        raise EnvelopeError(f"{name} is {quoted(value)}, expected one of {quoted(allowed)}")
    return value


def _hmac(key: bytes, sealed: bytes) -> str:
    return f"hmac-sha256:{hmac.digest(key, sealed, 'sha256').hex()}"


def _derived(secret: object) -> bytes:
    if not isinstance(secret, (str, bytes)):
        raise _bad_secret(f"text or bytes, got {quoted(type(secret).__name__)}")
    try:
        raw = secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        # The error of the codec holds the whole secret, so it is not chained.
        raise _bad_secret("text that UTF-8 can hold, got half of a surrogate pair") from None
    if len(raw) < MIN_SECRET_BYTES:
        raise _bad_secret(f"at least {MIN_SECRET_BYTES} bytes, got {len(raw)}")
    return hmac.digest(raw, b"keyturn store envelope", "sha256")


def _bad_secret(expectation: str) -> ConfigurationError:
    return ConfigurationError(
        f"secret: expected {expectation} (setting: secret)",
        hint="A good secret is the output of `secrets.token_urlsafe(32)`, kept with the application's other secrets.",
    )
