"""`python -m benchmarks.load`: hostile load and many issuers alone; a table, JSON with `--json`, exit code 1 if a goal is missed.

`python -m benchmarks` measures the same beside everything else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from dataclasses import dataclass

import cryptography

from benchmarks import hostile, many_issuers
from benchmarks.hostile import Hostile
from benchmarks.many_issuers import ManyIssuers


@dataclass(frozen=True)
class Load:
    """Both figures, and how busy the machine was.

    Attributes:
        hostile: A million hostile tokens beside valid traffic.
        many_issuers: Five hundred issuers, one of them hanging.
        busy: Processes that wanted a processor at the end, averaged over five minutes, for each processor; None where unknown.
    """

    hostile: Hostile
    many_issuers: ManyIssuers
    busy: float | None

    @property
    def missed(self) -> tuple[str, ...]:
        """The goals that were missed, in words."""
        return self.hostile.missed + self.many_issuers.missed

    def report(self) -> dict[str, object]:
        """Return the figures for JSON."""
        return dataclasses.asdict(self) | {"missed": self.missed}

    def print(self) -> None:
        """Print a table."""
        beside, many = self.hostile, self.many_issuers
        print(f"\n{beside.tokens:,} hostile tokens beside valid traffic, in {beside.elapsed_seconds:.0f} s")
        print(f"({beside.virtual_seconds:,.0f} s for the rules; {beside.valid_calls:,} valid calls timed, {beside.set_aside:,} set aside)\n")
        rows = [
            ("hostile tokens accepted", f"{beside.accepted}", "0"),
            ("valid tokens refused", f"{beside.valid_refused}", "0"),
            ("requests to the issuer", f"{beside.requests}", f"{beside.requests_bound} (R3, R5)"),
            ("growth of resident memory", f"{beside.memory_growth / 2**20:.2f} MB", f"{hostile.MEMORY_GOAL / 2**20:.0f} MB"),
            ("valid tokens, threads, p50", f"{beside.p50:.2f}x", "-"),
            ("valid tokens, threads, p99", f"{beside.p99:.2f}x", f"{hostile.P99_GOAL}x"),
            ("valid tokens, event loop, p50", f"{beside.loop_p50:.2f}x", "-"),
            ("valid tokens, event loop, p99", f"{beside.loop_p99:.2f}x", f"{hostile.P99_GOAL}x"),
        ]
        _table(rows)
        print(f"\n{many.issuers} cold issuers, one of them hanging, to the same with none that hangs ({many.start:.2f} s to start)\n")
        rows = [
            ("all others started", f"{many.start_ratio:.2f}x", f"{many_issuers.GOAL}x"),
            ("first token of one of the others, p50", f"{many.first_p50:.2f}x", f"{many_issuers.GOAL}x"),
            ("later tokens, p50", f"{many.p50:.2f}x", "-"),
            ("later tokens, p99", f"{many.p99:.2f}x", f"{many_issuers.GOAL}x"),
            ("requests to each of the others", f"{many.requests[0]} to {many.requests[1]}", "2"),
            ("requests to the hanging one", f"{many.requests_hanging}", "2"),
            ("callers of the hanging one served at last", f"{many.waited} of {many.callers}", "all"),
        ]
        _table(rows)
        if self.busy is not None:
            print(f"\n{os.cpu_count()} processors; {self.busy:.1f} processes wanted each of them, over the last five minutes")
        for goal in self.missed:
            print(f"MISSED: {goal}")


def measure(tokens: int = hostile.TOKENS) -> Load:
    """Measure both.

    Args:
        tokens: Hostile tokens.
    """
    first, second = hostile.measure(tokens), many_issuers.measure()
    busy = os.getloadavg()[1] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else None
    return Load(first, second, busy)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--tokens", type=int, default=hostile.TOKENS, help=f"hostile tokens (default: {hostile.TOKENS:,})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    load = measure(arguments.tokens)
    if arguments.json:
        print(json.dumps({"schema": 1, "python": platform.python_version(), "cryptography": cryptography.__version__, **load.report()}, indent=2))
    else:
        print(f"Python {platform.python_version()}, cryptography {cryptography.__version__}")
        load.print()
    return 1 if load.missed else 0


def _table(rows: list[tuple[str, str, str]]) -> None:
    for name, figure, goal in [("", "measured", "goal"), *rows]:
        print(f"{name:<44}{figure:>14}{goal:>16}")


if __name__ == "__main__":
    sys.exit(main())
