"""Runs the table of cases against every adapter of a family, and prints the matrix: `python -m tests.web.matrix asgi`.

What it prints for a family stands in `docs/reference/web-conformance.md`; a test of each family compares.
"""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

from tests.web.conformance import CASES, Kind, check, reasons

HERE = Path(__file__).parent


def kinds_of(family: str) -> list[Kind]:
    """Return every kind of adapter that the tests of a family check."""
    names = [f"tests.web.{family}.{path.stem}" for path in sorted((HERE / family).glob("test_*.py"))]
    return [kind for name in names for kind in vars(importlib.import_module(name)).get("KINDS", ())]


def outcome(kind: Kind, name: str) -> str:
    """Return "yes", "NO" or "n/a" for one cell."""
    if name in kind.without:
        return "n/a"
    try:
        check(kind, next(case for case in CASES if case.__name__ == name))
    except Exception as error:
        print(f"{kind.name}, {name}: {error!r}", file=sys.stderr)
        return "NO"
    return "yes"


def main(family: str) -> int:
    """Print the matrix of a family; return 1 if a case failed."""
    kinds = kinds_of(family)
    # Servers and frameworks tell of every refusal, and some of them set logging up.
    logging.disable()
    rows = [[kind.name, *(outcome(kind, case.__name__) for case in CASES)] for kind in kinds]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows), *(line for kind in kinds for line in reasons(kind)), sep="\n")
    return int(any("NO" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
