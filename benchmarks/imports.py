"""What `import keyturn` costs beside the imports that it cannot do without."""

from __future__ import annotations

import statistics
import subprocess
import sys

BASE = "import cryptography, jwt"
OURS = "import keyturn"
GOAL = 1.2
_TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def measure(rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of the base, and the median over the rounds of keyturn's ratio to it; fresh processes each."""
    base, ratios = [], []
    for _ in range(rounds):
        theirs, ours = _seconds(BASE), _seconds(OURS)
        base.append(theirs)
        ratios.append(ours / theirs)
    return statistics.median(base) * 1_000, statistics.median(ratios)


def _seconds(statement: str) -> float:
    answer = subprocess.run([sys.executable, "-c", _TIMED.format(statement)], capture_output=True, text=True, check=True)
    return float(answer.stdout)
