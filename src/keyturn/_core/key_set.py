"""A key set: every published key that can serve, and the reason for each that cannot (RFC 7517, section 5).

Rules of this file:

1. Every usable entry is kept; a bad one is skipped and takes no other along (R1).
2. Order means nothing: keys stand in the order of their thumbprints from the first moment on (R2).
3. A kid decides. What it does not name is no candidate, and nothing falls through to other keys (OpenID Connect Core, section 10.1).
4. A set without a usable key is no set (R12).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyturn._core.jwk import SecretKeyError, SigningKey, UnusableKeyError, published_kid, signing_key, without_secrets
from keyturn._core.strict_json import NotStrictJSONError, RepeatedMember, parse_document
from keyturn.errors import InvalidKeySetError, quoted

MOST_KEYS = 500
"""Entries that a set may have: 33 times the largest set seen (R16)."""

MOST_CANDIDATES = 16
"""Keys that one token may be tried against: covers every set seen, and bounds the price of a forged token (R2)."""

_REASONS_SHOWN = 5
_REPEATING = '{"":0,"":0}'


@dataclass(frozen=True, slots=True, order=True)
class SkippedKey:
    """A published entry that cannot serve.

    Attributes:
        kid: Its kid, or an empty string where it has none.
        reason: Why it cannot serve; reads on from "the key".
        secret: Whether it publishes what only its issuer may know: anybody can sign with such a key.
    """

    kid: str
    reason: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class KeySetDifference:
    """What is in one set and not in the other.

    Attributes:
        added: Keys of the newer set alone.
        removed: Keys of the older set alone.
        replaced: (older, newer) of a kid that names new key material.
        nothing_in_common: Whether the sets share no key.
    """

    added: tuple[SigningKey, ...]
    removed: tuple[SigningKey, ...]
    replaced: tuple[tuple[SigningKey, SigningKey], ...]
    nothing_in_common: bool


@dataclass(frozen=True, slots=True)
class Handle:
    """How a header names its key.

    Attributes:
        member: `kid`, `x5t#S256` or `x5t`; None where the header names no key.
        value: What it says.
    """

    member: str | None
    value: str = ""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The keys that fit one header.

    Attributes:
        keys: At most as many as were asked for, the first by thumbprint.
        total: How many there are.
    """

    keys: tuple[SigningKey, ...] = ()
    total: int = 0


_NONE = Candidates()


@dataclass(frozen=True, slots=True, init=False, eq=False)
class KeySet:
    """The keys of one answer, immutable, in the order of their thumbprints.

    Attributes:
        keys: Keys that can serve.
        skipped: Published entries that cannot, with reasons.
    """

    keys: tuple[SigningKey, ...]
    skipped: tuple[SkippedKey, ...]
    _by_handle: Mapping[tuple[str, str], tuple[SigningKey, ...]] = field(repr=False)
    _names: Mapping[str, int] = field(repr=False)

    def __init__(self, keys: Iterable[SigningKey] = (), skipped: Iterable[SkippedKey] = ()) -> None:
        distinct = {key.identity: key for key in keys}
        ordered = tuple(sorted(distinct.values(), key=_order))
        index: defaultdict[tuple[str, str], list[SigningKey]] = defaultdict(list)
        for key in ordered:
            for member, value in (("kid", key.kid), ("x5t#S256", key.x5t_s256), ("x5t", key.x5t)):
                if value is not None:
                    index[member, value].append(key)
        object.__setattr__(self, "keys", ordered)
        object.__setattr__(self, "skipped", tuple(sorted(skipped)))
        object.__setattr__(self, "_by_handle", {handle: tuple(found) for handle, found in index.items()})
        object.__setattr__(self, "_names", Counter(member for member, _ in index))

    @classmethod
    def from_jwks(
        cls,
        document: bytes | str | Mapping[str, Any],
        *,
        content_type: str = "",
        max_keys: int = MOST_KEYS,
        issuer: str | None = None,
    ) -> KeySet:
        """Read a JWK Set.

        Args:
            document: The document as bytes, as text, or already as a mapping.
            content_type: Content-Type that came with it; an HTML page is refused.
            max_keys: Entries above which the whole set is refused; cutting it would make the order count.
            issuer: The issuer whose set this is: an entry that names another one is skipped. None takes them all.

        Raises:
            InvalidKeySetError: Not a key set, too many entries, or no usable key.
        """
        found = cls.read(document, content_type=content_type, max_keys=max_keys, issuer=issuer)
        if not found.keys:
            raise InvalidKeySetError(
                no_usable_key(found.skipped) if found.skipped else "the key set is empty",
                hint="The keys that are held stay. `keyturn keys` shows every entry with its reason.",
            )
        return found

    @classmethod
    def read(
        cls,
        document: bytes | str | Mapping[str, Any],
        *,
        content_type: str = "",
        max_keys: int = MOST_KEYS,
        issuer: str | None = None,
    ) -> KeySet:
        """Read a JWK Set for whoever looks at it: one that is empty, or has no usable key, is an answer here.

        The arguments are those of `from_jwks()`.

        Raises:
            InvalidKeySetError: Not a key set, or too many entries.
        """
        keys, skipped = [], []
        for entry in _entries(_as_bytes(document), content_type, max_keys):
            try:
                keys.append(_usable(entry, issuer))
            except UnusableKeyError as error:
                skipped.append(SkippedKey(published_kid(entry) or "", str(error), isinstance(error, SecretKeyError)))
        return cls(keys, skipped)

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two answers that say the same, whatever their order."""
        return frozenset(key.identity for key in self.keys), self.skipped

    @property
    def ambiguous_kids(self) -> tuple[str, ...]:
        """Kids that name several keys of one algorithm; each of them is tried."""
        named = Counter((key.kid, algorithm) for key in self.keys if key.kid is not None for algorithm in key.algorithms)
        return tuple(sorted({kid for (kid, _), count in named.items() if kid is not None and count > 1}))

    def handle(self, header: Mapping[str, Any]) -> Handle:
        """Return how *header* names its key: its kid, else a certificate thumbprint where this set publishes any."""
        kid = header.get("kid")
        if kid is not None:
            return Handle("kid", kid)
        for member in ("x5t#S256", "x5t"):
            value = header.get(member)
            if value is not None and self._names.get(member):
                return Handle(member, value)
        return Handle(None)

    def candidates(self, header: Mapping[str, Any], *, limit: int = MOST_CANDIDATES) -> Candidates:
        """Return every key that fits *header*: kid or certificate thumbprint, then algorithm, type and curve (R2).

        Args:
            header: A JOSE header with `alg`.
            limit: Keys to return at most, taken by thumbprint and never by position.
        """
        handle = self.handle(header)
        pool: Sequence[SigningKey] = self.keys if handle.member is None else self._by_handle.get((handle.member, handle.value), ())
        algorithm = header.get("alg")
        fitting = tuple(key for key in pool if algorithm in key.algorithms)
        if handle.member is None:
            # One key under two names, or in two certificates, is tried once and takes one place under the limit.
            fitting = tuple({(key.thumbprint, key.issuer, key.cloud): key for key in reversed(fitting)}.values())[::-1]
        return Candidates(fitting[:limit], len(fitting)) if fitting else _NONE

    def why_not(self, header: Mapping[str, Any]) -> str | None:
        """Return why a key that *header* names is published and still no candidate, or None if it is not published."""
        handle = self.handle(header)
        if handle.member is None:
            return None
        for key in self._by_handle.get((handle.member, handle.value), ()):
            if header.get("alg") not in key.algorithms:
                return f"is for {', '.join(sorted(key.algorithms))}, and the token says {quoted(header.get('alg'))}"
        if handle.member == "kid":
            return next((entry.reason for entry in self.skipped if entry.kid == handle.value), None)
        return None

    def diff(self, older: KeySet | None) -> KeySetDifference:
        """Return what this set has that *older* had not, and the other way round."""
        before = {key.name: key for key in older.keys} if older else {}
        now = {key.name: key for key in self.keys}
        added = tuple(key for name, key in now.items() if name not in before)
        removed = tuple(key for name, key in before.items() if name not in now)
        gone = {key.kid: key for key in removed if key.kid is not None}
        return KeySetDifference(
            added=added,
            removed=removed,
            replaced=tuple((gone[key.kid], key) for key in added if key.kid in gone),
            nothing_in_common=bool(before) and not before.keys() & now.keys(),
        )


def storable(document: bytes) -> bytes:
    """Return a key set that has been read, as it may be kept: without anything that only its issuer may know (RFC 7517, section 9.2).

    What is read from it later has the same keys and the same reasons. A document that holds no secret is returned as it is, and so is
    federation metadata, which has certificates alone.
    """
    try:
        entries = parse_document(document)["keys"]
    except NotStrictJSONError:
        return document
    kept = [without_secrets(entry) for entry in entries]
    repeating = [_repeats_a_member(entry) for entry in entries]
    if not any(repeating) and all(entry is same for entry, same in zip(entries, kept, strict=True)):
        return document
    texts = (_repeating(entry) if repeats else _printed(entry) for repeats, entry in zip(repeating, kept, strict=True))
    return f'{{"keys":[{",".join(texts)}]}}'.encode()


def _repeating(entry: object) -> str:
    """Print an entry that repeats a member: of it nothing is known but that, and its kid where the object inside it repeats."""
    kid = published_kid(entry)
    return _REPEATING if kid is None else f'{{"kid":{json.dumps(kid)},"":{_REPEATING}}}'


def _printed(entry: object) -> str:
    # 1e400 is a number of JSON and reads as infinity, which JSON has no word for. No text ends so: it ends with its quotation mark.
    chunks = json.JSONEncoder().iterencode(entry)
    return "".join(f"{chunk.removesuffix('Infinity')}1e400" if chunk.endswith("Infinity") else chunk for chunk in chunks)


def _order(key: SigningKey) -> tuple[object, ...]:
    # Everything that tells keys apart, or the order of the document would decide between two that are equal here (R2).
    return (
        key.thumbprint,
        tuple(sorted(key.algorithms)),
        *((text is not None, text or "") for text in (key.kid, key.x5t, key.x5t_s256, key.issuer, key.cloud)),
    )


def _as_bytes(document: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(document, bytes):
        return document
    try:
        return (document if isinstance(document, str) else json.dumps(dict(document))).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidKeySetError("expected a JWK Set, got something that is not JSON") from None


def _entries(document: bytes, content_type: str, max_keys: int) -> list[Any]:
    try:
        parsed = parse_document(document, content_type)
    except NotStrictJSONError as error:
        raise InvalidKeySetError(f"expected a JWK Set, got {error}") from None
    if isinstance(parsed, RepeatedMember):
        raise InvalidKeySetError("the key set names a member twice")
    if not isinstance(parsed, dict) or "keys" not in parsed:
        raise InvalidKeySetError('expected a JWK Set, a JSON object with the member "keys" (RFC 7517, section 5)')
    entries = parsed["keys"]
    if not isinstance(entries, list):
        raise InvalidKeySetError(f'the member "keys" is not a list, but {quoted(entries)}')
    if len(entries) > max_keys:
        raise InvalidKeySetError(f"the key set has {len(entries)} entries; at most {max_keys} are allowed (setting: max_keys)")
    return entries


def _usable(entry: object, issuer: str | None) -> SigningKey:
    if _repeats_a_member(entry):
        raise UnusableKeyError("names a member twice")
    key = signing_key(entry)
    if issuer is not None and key.issuer is not None and key.issuer != issuer:
        raise UnusableKeyError(f"is published for issuer {quoted(key.issuer)} alone")
    return key


def _repeats_a_member(value: object) -> bool:
    if isinstance(value, dict):
        return any(_repeats_a_member(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_repeats_a_member(inner) for inner in value)
    return isinstance(value, RepeatedMember)


def no_usable_key(skipped: Sequence[SkippedKey], document: str = "key set") -> str:
    """Return the message for a document none of whose entries can serve, with the reasons of the first."""
    reasons = "; ".join(f"{quoted(entry.kid) if entry.kid else 'one without kid'} {entry.reason}" for entry in skipped[:_REASONS_SHOWN])
    more = f"; and {len(skipped) - _REASONS_SHOWN} more" if len(skipped) > _REASONS_SHOWN else ""
    return f"the {document} has {len(skipped)} entries and no usable key{': ' if reasons else ''}{reasons}{more}"
