"""Changes every place of the rules, one at a time, with mutmut: `python -m tests.mutants.everything [NAME ...]`.

Rules of this file:

1. It works in a folder of its own, on a copy, so that the source may be edited while it runs.
2. What has a verdict keeps it as long as its function does not change; a run that was ended goes on where it was. A NAME, which may
   hold `*`, is judged again.
3. One process at a time: it runs for hours beside other work.
4. Whatever survives is told at the end; `survivors.md` says of each that is known why nothing can notice it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".mutants"
COPIED = ("src", "tests")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", "*.egg-info")


def main(names: Sequence[str]) -> int:
    """Copy what is to be changed, change and judge it, and show what survived; return mutmut's exit code."""
    refresh(ROOT, PLACE)
    ended = subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names], cwd=PLACE, check=False)
    print("\nNot noticed, or without a verdict (see tests/mutants/survivors.md):\n", flush=True)
    subprocess.run([sys.executable, "-m", "mutmut", "results"], cwd=PLACE, check=False)
    return ended.returncode


def refresh(root: Path, place: Path) -> None:
    """Make *place* hold what *root* holds now; the verdicts that mutmut keeps in it stay."""
    place.mkdir(exist_ok=True)
    for part in COPIED:
        shutil.rmtree(place / part, ignore_errors=True)
        # Modification times are copied too: by them mutmut sees what has not changed.
        shutil.copytree(root / part, place / part, ignore=LEFT_OUT)
    # It would look for its settings here first, and would find none; pytest needs its own.
    shutil.copy2(root / "pyproject.toml", place / "pyproject.toml")
    shutil.copy2(root / "tests" / "mutants" / "mutmut.cfg", place / "setup.cfg")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
