"""Headers that came with a good signature, so that the next token with the same one is spared its parsing and its look-up.

Rules of this file:

1. A header enters after a good signature alone, so no attacker fills this or pushes anything out.
2. What is remembered is what the text says and which keys fit it: never a verdict, and never one key in place of all that fit.
3. It holds for one generation of one key set, told by the identity of the keeper's memory: every change of the set, revocations
   among them, empties it.
4. At most 64 are remembered, and the least recently used leaves first: an issuer has one for each of its keys.
5. No lock: a reader finds an entry or does not, and both are right.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from keyturn._core.jwk import SigningKey
from keyturn._core.signatures import Verify

MOST_HEADERS: Final = 64
"""Headers that are remembered at most."""

Fitting = tuple[tuple[SigningKey, Verify], ...]
"""The keys that fit one header, each with its verify call."""


class KnownHeader:
    """One header and the keys that fit it.

    Attributes:
        header: As parsed.
        keys: The keys that fit it, in the order in which they are tried.
        memory: The generation for which that is so.
        used: When it was used last, as a number that grows.
    """

    __slots__ = ("header", "keys", "memory", "used")

    def __init__(self, header: Mapping[str, Any], keys: Fitting, memory: object) -> None:
        self.header = header
        self.keys = keys
        self.memory = memory
        self.used = 0


class _Generation(NamedTuple):
    """What is known since one memory of the keeper was new."""

    memory: object
    known: dict[bytes, KnownHeader]


class Headers:
    """The headers that one validator knows."""

    def __init__(self) -> None:
        self._generation = _Generation(None, {})
        self._uses = itertools.count(1)

    def known(self, memory: object) -> Mapping[bytes, KnownHeader]:
        """Return what is known of the generation that *memory* stands for."""
        generation = self._generation
        return generation.known if generation.memory is memory else {}

    def touch(self, header: KnownHeader) -> None:
        """Note that *header* was used."""
        header.used = next(self._uses)

    def remember(self, segment: bytes, header: Mapping[str, Any], keys: Fitting, memory: object) -> None:
        """Remember a header, unless somebody could alter what it holds."""
        if not all(isinstance(value, str) for value in header.values()):
            return
        # Read once: another thread may begin a newer generation meanwhile, and what was learned of this one has no place there.
        generation = self._generation
        if generation.memory is not memory:
            self._generation = generation = _Generation(memory, {})
        known = generation.known
        # As often as it takes: of two threads that found the same oldest one, one dropped nothing.
        while len(known) >= MOST_HEADERS:
            oldest = min(list(known.items()), key=lambda entry: entry[1].used, default=(segment, None))
            known.pop(oldest[0], None)
        known[segment] = entry = KnownHeader(header, keys, memory)
        self.touch(entry)
