"""Every named fault, in the order of its numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.mutants.mutant import Mutant
from tests.mutants.of_keys import OF_KEYS
from tests.mutants.of_refreshes import OF_REFRESHES
from tests.mutants.of_repeats import OF_REPEATS
from tests.mutants.of_tokens_and_fetches import OF_TOKENS_AND_FETCHES


def place(number: str) -> tuple[int, str]:
    """Return what faults are ordered by: the number, then the letter.

    Raises:
        ValueError: *number* is no name of a fault.
    """
    match = re.fullmatch(r"M([1-9][0-9]*)([a-z]?)", number)
    if match is None:
        raise ValueError(f"expected a name such as M12 or M12a, got {number}")
    return int(match[1]), match[2]


ALL: tuple[Mutant, ...] = tuple(sorted((*OF_KEYS, *OF_REFRESHES, *OF_REPEATS, *OF_TOKENS_AND_FETCHES), key=lambda mutant: place(mutant.number)))


def named(name: str, mutants: Sequence[Mutant] = ALL) -> tuple[Mutant, ...]:
    """Return the fault of that name, or each of several that differ in their letter; M1 is not M12."""
    return tuple(mutant for mutant in mutants if mutant.number == name or (mutant.number[:-1] == name and mutant.number[-1].isalpha()))
