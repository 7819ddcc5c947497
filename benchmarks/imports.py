"""What `import keyturn` costs beside the imports that it cannot do without."""

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

_TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


@dataclass(frozen=True)
class Imports:
    """Median milliseconds of the base; medians over the rounds of the ratios to it, fresh processes each."""

    base_milliseconds: float
    package: float
    first_use: float


def measure(rounds: int) -> Imports:
    """Measure; the three take turns."""
    times = [tuple(_seconds(statement) for statement in (BASE, OURS, FIRST_USE)) for _ in range(rounds)]
    return Imports(
        base_milliseconds=statistics.median(base for base, _, _ in times) * 1_000,
        package=statistics.median(package / base for base, package, _ in times),
        first_use=statistics.median(use / base for base, _, use in times),
    )


def _seconds(statement: str) -> float:
    answer = subprocess.run(  # noqa: S603 - a statement of this file, run by this interpreter
        [sys.executable, "-c", _TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    return float(answer.stdout)
