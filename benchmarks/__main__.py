"""`python -m benchmarks`: a table on standard output, JSON with `--json`, exit code 1 if a goal is missed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import cryptography
import jwt

from benchmarks import hostile, imports, load, validation, waiting
from benchmarks.imports import Imports
from benchmarks.load import Load
from benchmarks.validation import Row
from benchmarks.waiting import Waiting

T = TypeVar("T")
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=41, help="rounds of each comparison (default: 41)")
    parser.add_argument("--tokens", type=int, default=hostile.TOKENS, help=f"hostile tokens beside valid traffic (default: {hostile.TOKENS:,})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    rows = [_told(f"measuring {name}", lambda name=name: validation.measure(name, arguments.rounds)) for name in ALGORITHMS]
    held = _told("measuring a held key while a refresh hangs", waiting.measure)
    loaded = _told("measuring imports", lambda: imports.measure(11))
    loads = _told("measuring hostile load and many issuers, for some minutes", lambda: load.measure(arguments.tokens))
    met = all(row.met for row in rows) and loaded.package <= imports.GOAL and not loads.missed
    if arguments.json:
        print(json.dumps(_report(rows, held, loaded, loads, met=met), indent=2))
    else:
        _print(rows, held, loaded)
        loads.print()
    return 0 if met else 1


def _told(what: str, call: Callable[[], T]) -> T:
    print(f"{what} …", file=sys.stderr, flush=True)
    return call()


def _report(rows: Sequence[Row], held: Waiting, loaded: Imports, loads: Load, *, met: bool) -> dict[str, object]:
    return {
        "schema": 1,
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "pyjwt": jwt.__version__,
        "validation": [dataclasses.asdict(row) | {"met": row.met} for row in rows],
        "held_key_while_a_refresh_hangs": dataclasses.asdict(held),
        "import": dataclasses.asdict(loaded) | {"goal": imports.GOAL},
        "load": loads.report(),
        "goals_met": met,
    }


def _print(rows: Sequence[Row], held: Waiting, loaded: Imports) -> None:
    print(f"Python {platform.python_version()}, cryptography {cryptography.__version__}, PyJWT {jwt.__version__}")
    print(f"\nOne validation of a {rows[0].token_bytes} byte token, as a ratio to a bare verify of the same signature\n")
    print(f"{'algorithm':<10}{'bare, µs':>10}{'keyturn':>10}{'goal':>8}{'PyJWT, held key':>18}{'PyJWKClient':>13}{'keyturn/PyJWKClient':>21}")
    for row in rows:
        goal = f"{row.goal:.2f}" if row.goal else "-"
        print(
            f"{row.algorithm:<10}{row.bare_microseconds:>10.1f}{row.keyturn:>10.2f}{goal:>8}{row.pyjwt_held_key:>18.2f}"
            f"{row.pyjwt_client:>13.2f}{row.keyturn_to_pyjwt_client:>21.3f}{'' if row.met else '   MISSED'}"
        )
    print(f"\nA held key while a refresh hangs, to the same {held.answered_while_blocked} calls without: p50 {held.p50:.2f}x, p99 {held.p99:.2f}x")
    print(f"import keyturn, to {loaded.base_milliseconds:.0f} ms of cryptography and jwt: {loaded.package:.2f}x (goal {imports.GOAL})")
    print(f"from keyturn import TokenValidator, to the same: {loaded.first_use:.2f}x")


if __name__ == "__main__":
    sys.exit(main())
