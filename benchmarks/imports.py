"""What `import keyturn` costs beside the imports that it cannot do without: time, and memory that stays."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass

BASE = "import cryptography, jwt"
OURS = "import cryptography, jwt, keyturn"
FIRST_USE = "import cryptography, jwt; from keyturn import TokenValidator"
GOAL = 1.2
"""Upper bound of the ratio of `import keyturn`. What a service needs is imported when it is first named, and measured beside it."""

_TIMED = """import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)
import os; print(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") if os.path.exists("/proc/self/statm") else "nan")"""
# Not the most that the process ever had: that is inherited from the parent's.


@dataclass(frozen=True)
class Imports:
    """Medians over the rounds, fresh processes each.

    Attributes:
        base_milliseconds: Importing cryptography and jwt.
        package: `import keyturn` beside them, as a ratio.
        first_use: `from keyturn import TokenValidator` beside them, as a ratio.
        base_megabytes: Resident memory after the base.
        first_use_megabytes: Resident memory after `from keyturn import TokenValidator`.
    """

    base_milliseconds: float
    package: float
    first_use: float
    base_megabytes: float
    first_use_megabytes: float


def measure(rounds: int) -> Imports:
    """Measure; the three take turns."""
    times = [tuple(_cost(statement) for statement in (BASE, OURS, FIRST_USE)) for _ in range(rounds)]
    return Imports(
        base_milliseconds=statistics.median(base[0] for base, _, _ in times) * 1_000,
        package=statistics.median(package[0] / base[0] for base, package, _ in times),
        first_use=statistics.median(use[0] / base[0] for base, _, use in times),
        base_megabytes=statistics.median(base[1] for base, _, _ in times) / 2**20,
        first_use_megabytes=statistics.median(use[1] for _, _, use in times) / 2**20,
    )


def _cost(statement: str) -> tuple[float, float]:
    """Return the seconds that *statement* takes in a fresh process, and the memory that is resident afterwards, in bytes."""
    answer = subprocess.run(  # noqa: S603 - a statement of this file, run by this interpreter
        [sys.executable, "-c", _TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    seconds, memory = answer.stdout.split()
    return float(seconds), float(memory)
