"""How rows of the table of boundaries are named, and found again.

Rules of this file:

1. A row is named `bNN-where-what`: the number of its boundary, `before`, `at` or `beyond` the value at which a rule flips, and that value.
2. Rows stand with the tests that they are handed to, and are found through those tests alone: a row that no test runs does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal

import pytest

Where = Literal["before", "at", "beyond"]
WHERE: tuple[Where, ...] = ("before", "at", "beyond")


def row(number: str, where: Where, what: str, *values: Any) -> Any:
    """Return one row of the table: the parameters of a test, and their name."""
    return pytest.param(*values, id=f"{number}-{where}-{what}")


def rows_of(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Return number and place of every row that a test of *module* runs."""
    for test in _tests_of(module):
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize":
                names = [getattr(each, "id", None) for each in mark.args[1]]
                yield from ((number, where) for name in names if isinstance(name, str) for number, where, _ in [name.split("-", 2)])


def _tests_of(module: ModuleType) -> Iterator[Any]:
    for name, value in vars(module).items():
        if name.startswith("test_"):
            yield value
        elif name.startswith("Test") and isinstance(value, type):
            yield from (inner for inner_name, inner in vars(value).items() if inner_name.startswith("test_"))
