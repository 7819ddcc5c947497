"""The keys that a client holds, for libraries which want them as a set.

Rules of this file:

1. Asking for the set causes what a token would cause: keys that are due are read, and ones that are too old are not handed out (R3, R9).
2. It never forces a refresh, however often it is asked (R5, R8).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from keyturn._core.jwk import SigningKey
from keyturn._core.signatures import DEFAULT_ALGORITHMS
from keyturn.client import KeySetClient
from keyturn.errors import UnknownKeyError
from keyturn.sources import StaticKeySet

Held = KeySetClient | StaticKeySet
"""Sources that can show all of their keys."""


def held_keys(source: Held, algorithms: Collection[str] = DEFAULT_ALGORITHMS) -> list[SigningKey]:
    """Return the keys of *source* for one of *algorithms*, read first if none is held, or if they are due.

    Raises:
        KeysUnavailableError: Nobody can know.
    """
    held = known_keys(source, algorithms)
    # Where none is held what is asked for is a guess.
    with suppress(UnknownKeyError):
        source.keys_for({"alg": usual_algorithm(held[0], algorithms) if held else min(algorithms)})
    return known_keys(source, algorithms)


def known_keys(source: Held, algorithms: Collection[str]) -> list[SigningKey]:
    """Return the keys of *source* for one of *algorithms* that are held now, without a look at their age."""
    return [key for key in source.snapshot().keys if not key.algorithms.isdisjoint(algorithms)]


def usual_algorithm(key: SigningKey, algorithms: Collection[str]) -> str:
    """Return the algorithm of *algorithms* that *key* names or, if it names none, the usual one of its type: RS256 for RSA."""
    return next(name for name in (key.alg, *DEFAULT_ALGORITHMS) if name is not None and name in algorithms and name in key.algorithms)
