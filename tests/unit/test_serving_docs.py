"""The page about `keyturn serve` says what the control API knows."""

from __future__ import annotations

import re
from pathlib import Path

from keyturn.serving.control import Control
from keyturn.serving.faults import KINDS
from keyturn.serving.issuer import Settings

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "other-languages.md").read_text(encoding="utf-8")


def listed(heading: str) -> set[str]:
    """Return the names in the first cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {name for line in section.splitlines() if line.startswith("| `") for name in re.findall(r"`([\w-]+)`", line.split("|")[1])}


def test_every_step_is_listed() -> None:
    """Whoever looks for a step finds it, and finds no other."""
    assert {*Control(Settings("https://issuer.test")).operations, "mint"} == listed("Roll the keys over")


def test_every_kind_of_fault_is_listed() -> None:
    """Whoever looks for a fault finds it, and finds no other."""
    assert set(KINDS) == listed("Make it fail")


def test_every_member_of_a_token_is_listed() -> None:
    """A member that is not listed is refused, and its refusal names those that are."""
    assert {"subject", "audience", "scopes", "roles", "lifetime", "claims", "headers", "key", "bad"} == listed("Get a token")
