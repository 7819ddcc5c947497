"""What is fuzzed: one target per kind of bytes that an attacker may hand in.

Rules of this file:

1. A target's `check` takes any bytes. It returns whether they were accepted, and raises `Broken` where a promise does not hold;
   whatever else escapes from it is a find as well.
2. Everything about a target can be repeated: keys, clock and words are fixed, and chance comes from the seed that is handed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keyturn import KeyturnError

Native = Callable[[bytes, int], bytes]
"""Takes bytes and the length that the result may have; changes them blindly."""

Mutate = Callable[[bytes, int, random.Random, Native], bytes]
"""Takes bytes, the length that the result may have, chance, and the blind change to use inside; returns other bytes."""

LONGEST_MESSAGE = 4_096
"""Characters that message and hint of an error may have together: many entries of a key set may be told of, each of them cut."""


class Broken(AssertionError):  # noqa: N818 - a promise that is broken, not an error of the test
    """A promise does not hold for these bytes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of bytes.

    Attributes:
        name: What the command line calls it.
        read: Hands bytes to keyturn and does nothing else; what is timed.
        check: Judges bytes by the rules of this file.
        seeds: Yields bytes to begin with.
        mutate: Changes bytes without losing their form.
        words: Texts worth trying anywhere.
        longest: Bytes that an input may have.
    """

    name: str
    read: Callable[[bytes], object]
    check: Callable[[bytes], bool]
    seeds: Callable[[], Iterator[bytes]]
    mutate: Mutate
    words: Sequence[str]
    longest: int


def outcome(call: Callable[[], Any]) -> Any:
    """Return what *call* returns, or the KeyturnError that it raises, after a look at its texts.

    Raises:
        Broken: The error would not do in a log line.
    """
    try:
        return call()
    except KeyturnError as error:
        text = f"{error}{error.hint}"
        if not text.isprintable() or len(text) > LONGEST_MESSAGE:
            raise Broken(f"{type(error).__name__} has a text of {len(text)} characters, or one that no log line should hold") from error
        return error


def require(holds: object, promise: str) -> None:
    """Raise `Broken` unless the promise holds."""
    if not holds:
        raise Broken(promise)
