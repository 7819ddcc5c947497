"""`python -m tests.fuzz.engine TARGET SECONDS FOLDER`: one target under atheris, in a process of its own.

The engine ends the process itself, so it has one; who reads its output is `running.py`. Only keyturn is instrumented: the code that
judges it is not what is to be explored.
"""

from __future__ import annotations

import importlib
import random
import sys
import time
from pathlib import Path

import atheris
from tests.fuzz.folders import Folders

SLOWEST = 10
"""Seconds after which one input counts as endless; what is merely slow is found when it is replayed."""

MOST_MEGABYTES = 1_024
"""Resident memory above which the engine gives up."""


def main() -> None:
    """Fuzz until the time is over or a promise is broken."""
    begun = time.perf_counter()
    name, seconds, root = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with atheris.instrument_imports(include=["keyturn"]):
        targets = importlib.import_module("tests.fuzz.targets")
    target, folders = targets.TARGETS[name], Folders(root, name)
    folders.prepare(target.seeds(), target.words)

    def one_input(data: bytes) -> None:
        target.check(data)

    def mutator(data: bytes, limit: int, seed: int) -> bytes:
        return target.mutate(bytes(data), limit, random.Random(seed), atheris.Mutate)[:limit]

    settings = {
        # What it took to work out keys and to write seeds is part of the time.
        "max_total_time": max(1, seconds - round(time.perf_counter() - begun)),
        "max_len": target.longest,
        "timeout": SLOWEST,
        "rss_limit_mb": MOST_MEGABYTES,
        "dict": folders.words,
        "artifact_prefix": f"{folders.finds}/",
        "print_final_stats": 1,
    }
    options = [f"-{option}={value}" for option, value in settings.items()]
    atheris.Setup([sys.argv[0], *options, str(folders.corpus), str(folders.seeds)], one_input, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
