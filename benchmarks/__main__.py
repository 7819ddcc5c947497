"""`python -m benchmarks`: tables on standard output, JSON with `--json`, a bar chart with `--svg`; exit code 1 if a goal is missed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cryptography

from benchmarks import chart, concurrency, growth, hostile, imports, load, peers, requests, validation, waiting
from benchmarks.concurrency import Concurrency
from benchmarks.growth import Growth
from benchmarks.imports import Imports
from benchmarks.load import Load
from benchmarks.requests import Requests
from benchmarks.validation import Row
from benchmarks.waiting import Waiting

T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    """Everything that is measured."""

    validation: Sequence[Row]
    requests: Sequence[Requests]
    held_key_while_a_refresh_hangs: Waiting
    concurrency: Concurrency
    growth: Growth
    imports: Imports
    load: Load

    @property
    def missed(self) -> tuple[str, ...]:
        """The goals that were missed, in words."""
        found = [goal for row in self.validation for goal in row.missed]
        if self.imports.package > imports.GOAL:
            found.append(f"import keyturn: {self.imports.package:.2f}, goal {imports.GOAL}")
        return (*found, *self.growth.missed, *self.load.missed)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=155, help="rounds of validations and growth; the quickest fifth counts (default: 155)")
    parser.add_argument("--tokens", type=int, default=hostile.TOKENS, help=f"hostile tokens beside valid traffic (default: {hostile.TOKENS:,})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the bar chart into FILE")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}, expected 1 or more")
    start = time.monotonic()
    figures = _measure(arguments.rounds, arguments.tokens)
    if arguments.svg:
        arguments.svg.write_text(chart.draw(figures.validation, _machine()), encoding="utf-8")
    if arguments.json:
        print(json.dumps(_report(figures), indent=2))
    else:
        _print(figures)
        print(f"\nmeasured in {time.monotonic() - start:.0f} s; load of the machine at the end {_busy()}")
    for goal in figures.missed:
        print(f"MISSED: {goal}", file=sys.stderr)
    return 1 if figures.missed else 0


def _measure(rounds: int, tokens: int) -> Figures:
    return Figures(
        validation=_told("measuring one validation", lambda: validation.measure(rounds, tell=_progress(rounds))),
        requests=_told("counting requests", requests.measure),
        held_key_while_a_refresh_hangs=_told("measuring a held key while a refresh hangs", waiting.measure),
        concurrency=_told("measuring event loops and threads", concurrency.measure),
        growth=_told("measuring growth with keys, issuers and remembered tokens", lambda: growth.measure(rounds)),
        imports=_told("measuring imports", lambda: imports.measure(11)),
        load=_told("measuring hostile load and many issuers, for some minutes", lambda: load.measure(tokens)),
    )


def _told(what: str, call: Callable[[], T]) -> T:
    print(f"{what} …", file=sys.stderr, flush=True)
    return call()


def _progress(rounds: int) -> Callable[[int], None]:
    def tell(number: int) -> None:
        if number % 20 == 0 or number in {1, rounds}:
            print(f"  round {number} of {rounds}", file=sys.stderr, flush=True)

    return tell


def _machine() -> str:
    versions = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    return f"Python {platform.python_version()}, cryptography {cryptography.__version__}, {versions}; {os.cpu_count()} processors"


def _busy() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _report(figures: Figures) -> dict[str, object]:
    return {
        "schema": 3,
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "peers": peers.versions(),
        **{field.name: _plain(getattr(figures, field.name)) for field in dataclasses.fields(figures) if field.name != "load"},
        "load": figures.load.report(),
        "missed": figures.missed,
    }


def _plain(found: object) -> object:
    if isinstance(found, Sequence):
        return [_plain(each) for each in found]
    return dataclasses.asdict(found)  # type: ignore[call-overload]


def _print(figures: Figures) -> None:
    print(_machine())
    _print_validation(figures.validation)
    print("\nRequests to the issuer\n")
    _table(
        ["", "first token", "50 at once", f"{requests.JUNK:,} unknown kids", "the same in an outage"],
        [[each.name, each.first, each.together, each.junk, each.outage] for each in figures.requests],
    )
    held, running = figures.held_key_while_a_refresh_hangs, figures.concurrency
    print(f"\nA held key while a refresh hangs, to the same {held.answered_while_blocked:,} calls without: p50 {held.p50:.2f}x, p99 {held.p99:.2f}x")
    print(f"validate_async() to validate(): {running.inline:.2f}x; the same on a thread of its own (asyncio.to_thread): {running.hop:.2f}x")
    print(f"p99 of a turn of the event loop, to bare verifies: {_shown(running.lag, 'tasks')}")
    print(f"as many validations on several threads, to one: {_shown(running.threads, 'threads')}")
    _print_growth(figures.growth)
    loaded = figures.imports
    print(f"\nimport keyturn, to {loaded.base_milliseconds:.0f} ms of cryptography and jwt: {loaded.package:.2f}x (goal {imports.GOAL})")
    print(f"from keyturn import TokenValidator, to the same: {loaded.first_use:.2f}x")
    print(f"resident memory after it: {loaded.first_use_megabytes:.1f} MB, of which cryptography and jwt {loaded.base_megabytes:.1f} MB")
    figures.load.print()


def _print_validation(rows: Sequence[Row]) -> None:
    print("\nOne validation, as a ratio to a bare verify of the same signature (goal in brackets)\n")
    names = list(dict.fromkeys(name for row in rows for name in row.ratios))
    lines = []
    for row in rows:
        cells = [_cell(row, name) for name in names]
        lines.append([row.name, f"{row.token_bytes:,}", f"{row.bare_microseconds:.1f}", f"{row.bare_microseconds_of_all:.1f}", *cells])
    _table(["", "bytes", "bare, µs", "bare, all rounds, µs", *names], lines)
    left_out = {f"{name} ({row.name}: {why})" for row in rows for name, why in row.left_out.items()}
    if left_out:
        print("left out: " + ", ".join(sorted(left_out)))


def _cell(row: Row, name: str) -> str:
    if name not in row.ratios:
        return "-"
    goal = f" [{row.goals[name]}]" if name in row.goals else ""
    return f"{row.ratios[name]:.2f}{goal}"


def _print_growth(found: Growth) -> None:
    print(f"\nOne validation, to the same with the fewest (goal {growth.FLAT} at the most)\n")
    _table(
        ["", "ratios"],
        [
            ["keys of one issuer", _shown(found.keys, "keys")],
            ["issuers behind one router", _shown(found.issuers, "issuers")],
            ["remembered tokens", _shown(found.tokens, "tokens")],
        ],
    )
    print("\nKeySet.from_jwks(): " + ", ".join(f"{count} keys {seconds * 1e3:.1f} ms" for count, seconds in found.build.items()))
    print(f"one key takes {found.key_bytes:,.0f} bytes, one remembered token of {validation.USUAL} bytes {found.token_bytes:,.0f}")


def _shown(ratios: Mapping[int, float], unit: str) -> str:
    return ", ".join(f"{count:,} {unit} {ratio:.2f}x" for count, ratio in ratios.items())


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    lines = [[str(cell) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for first, *rest in lines:
        print(f"{first:<{widths[0]}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)))


if __name__ == "__main__":
    sys.exit(main())
