"""The reference of the testing kit says what the kit does."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.bad_token_table import table

from keyturn.testing.fault_modes import FaultModes
from keyturn.testing.shapes import SHAPES

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "testing.md"


def first_cells(heading: str) -> list[str]:
    """Return the code in the first cell of each row below a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)


def test_the_table_of_bad_tokens_is_current() -> None:
    """The page lists the catalogue; `python scripts/bad_token_table.py` writes it anew."""
    assert table() in PAGE.read_text(encoding="utf-8")


def test_every_fault_is_in_the_table() -> None:
    """The page has a row for each fault, and no other."""
    assert sorted(name for name in vars(FaultModes) if not name.startswith("_")) == sorted(first_cells("Faults"))


def test_every_shape_is_in_the_table() -> None:
    """The page has a row for each shape, and no other."""
    assert list(SHAPES) == first_cells("Shapes")
