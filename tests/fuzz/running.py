"""The engine's process, and what it tells while it runs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

# "#8192  NEW    cov: 720 ft: 2131 corp: 140/35Kb lim: 16448 exec/s: 2048 rss: 91Mb ..."
_LINE = re.compile(r"#(\d+)\s+([A-Za-z]+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/\S+ .*?rss: (\d+)Mb")
_STATED = re.compile(r"stat::(\w+):\s+(\d+)")
_LAST_WORDS = 60


@dataclass(slots=True)
class Progress:
    """What the engine told last.

    Attributes:
        executions: Inputs that were tried.
        coverage: Edges of keyturn's code that were taken.
        features: Edges with how often they were taken, roughly.
        inputs: Inputs worth keeping.
        new_inputs: Inputs that this run added.
        first_megabytes: Resident memory once the seeds were read.
        megabytes: Resident memory now; at the end, the most there was.
    """

    executions: int = 0
    coverage: int = 0
    features: int = 0
    inputs: int = 0
    new_inputs: int = 0
    first_megabytes: int = 0
    megabytes: int = 0


@dataclass(slots=True)
class Run:
    """One run of the engine.

    Attributes:
        progress: What it told last.
        code: Its exit code; anything but 0 is a find, or a fault of the engine.
        last_words: The end of its output.
    """

    progress: Progress = field(default_factory=Progress)
    code: int = 0
    last_words: list[str] = field(default_factory=list)


def run(name: str, seconds: int, root: Path, tell: Callable[[Progress, float], None]) -> Run:
    """Run the engine on one target.

    Args:
        name: The target.
        seconds: How long.
        root: Folder of the run.
        tell: Called about once a second with what is known and the seconds that have passed.
    """
    command = [sys.executable, "-m", "tests.fuzz.engine", name, str(seconds), str(root)]
    found, start, told = Run(), time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout or ():
            found.last_words = [*found.last_words[-_LAST_WORDS:], line.rstrip()]
            read_line(line, found.progress)
            if time.perf_counter() - start - told > 1:
                told = time.perf_counter() - start
                tell(found.progress, told)
    found.code = process.returncode
    return found


def read_line(line: str, progress: Progress) -> None:
    """Take what one line of the engine says into *progress*."""
    match = _LINE.search(line)
    if match:
        executions, event, coverage, features, inputs, megabytes = match.groups()
        progress.executions, progress.coverage, progress.features = int(executions), int(coverage), int(features)
        progress.inputs, progress.megabytes = int(inputs), int(megabytes)
        if event == "INITED":
            progress.first_megabytes = int(megabytes)
    for name, value in _STATED.findall(line):
        if name == "number_of_executed_units":
            progress.executions = int(value)
        elif name == "new_units_added":
            progress.new_inputs = int(value)
        elif name == "peak_rss_mb":
            progress.megabytes = int(value)


def traceback_of(lines: Iterable[str]) -> list[str]:
    """Return the part of the engine's last words that a person wants to read: what was raised, and from where."""
    listed = list(lines)
    begun = next((number for number, line in enumerate(listed) if "Uncaught Python exception" in line or line.startswith("==")), 0)
    return [line for line in listed[begun:] if line and not line.startswith("stat::")]
