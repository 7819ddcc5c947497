"""Runs tests on copies of the source, one of which has a fault.

Rules of this file:

1. Nothing is changed in place: every run has a temporary folder with source and tests of its own.
2. A fault is killed if every test that its row names has failed. A run that ended without that is no proof, however it ended.
3. What is not over in time is ended with its whole process group, and counts as killed only if its tests had failed by then.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutants.mutant import Mutant, StaleMutantError
from tests.mutants.witness import COPY, FAILED, PROFILE, WRONG_COPY

from keyturn.clock import Deadline

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "pyproject.toml")
LEFT_OUT = ("node_modules", ".hypothesis", "*.egg-info")

OPTIONS = (
    *("-q", "--no-header", "--tb=line"),
    *("-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "-p", "tests.mutants.witness", f"--hypothesis-profile={PROFILE}"),
)

PATIENCE = 90.0
"""Real seconds after which the tests of one fault are ended: several times what the slowest take that fail."""

SUMMARY = 400
"""Characters of pytest's last words that are shown."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one fault.

    Attributes:
        number: The mutant's.
        rule: The mutant's.
        file: The mutant's.
        outcome: `killed`, `survived`, `timed out`, `stale` (its text was not found) or `broken` (pytest itself failed).
        killed_by: The named tests that failed.
        missing: The named tests that did not.
        seconds: Real time that it took.
        said: Why it did not die, in pytest's words or ours.
    """

    number: str
    rule: str
    file: str
    outcome: str
    killed_by: tuple[str, ...]
    missing: tuple[str, ...]
    seconds: float
    said: str

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest.

    Attributes:
        code: Its exit code; None if it was ended from outside.
        failed: Node ids of the tests that failed.
        output: What it wrote.
    """

    code: int | None
    failed: frozenset[str]
    output: str


@contextmanager
def copied(root: Path = ROOT) -> Iterator[Path]:
    """Yield a temporary folder with a copy of source and tests."""
    with tempfile.TemporaryDirectory(prefix="keyturn-mutant-", ignore_cleanup_errors=True) as name:
        copy = Path(name).resolve()
        for part in COPIED:
            if (root / part).is_dir():
                # Modification times are copied too, so that what was compiled before is used.
                shutil.copytree(root / part, copy / part, ignore=shutil.ignore_patterns(*LEFT_OUT))
            else:
                shutil.copy2(root / part, copy / part)
        yield copy


def run_tests(copy: Path, tests: Iterable[str], patience: float = PATIENCE) -> Run:
    """Run *tests* inside *copy*, which has to be what they import."""
    handle, name = tempfile.mkstemp(prefix="failed-", dir=copy)
    os.close(handle)
    failed = Path(name)
    settings = {
        "PYTHONPATH": str(copy / "src"),
        # Every plugin that is installed costs a start half a second, eighty times.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        COPY: str(copy / "src" / "keyturn"),
        FAILED: str(failed),
    }
    command = [sys.executable, "-m", "pytest", *OPTIONS, *tests]
    process = subprocess.Popen(
        command, cwd=copy, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    code: int | None
    try:
        output, _ = process.communicate(timeout=patience)
        code = process.returncode
    except subprocess.TimeoutExpired:
        # The group and not the process alone: tests start processes of their own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = None
    return Run(code, frozenset(failed.read_text(encoding="utf-8").split("\n")) - {""}, output)


def judge(mutant: Mutant, root: Path = ROOT, patience: float = PATIENCE) -> Verdict:
    """Return what becomes of *mutant*."""
    watch = Deadline(1e6)
    began = watch.left()

    def verdict(outcome: str, killed_by: tuple[str, ...] = (), said: str = "") -> Verdict:
        missing = tuple(test for test in mutant.tests if test not in killed_by)
        return Verdict(mutant.number, mutant.rule, mutant.file, outcome, killed_by, missing, round(began - watch.left(), 1), said)

    with copied(root) as copy:
        package = copy / "src" / "keyturn"
        try:
            mutant.apply(package)
        except StaleMutantError as stale:
            return verdict("stale", said=str(stale))
        forget_compiled(package / mutant.file)
        run = run_tests(copy, mutant.tests, patience)
    killed_by = tuple(test for test in mutant.tests if any(is_part_of(failed, test) for failed in run.failed))
    if killed_by == mutant.tests and run.code in {None, 1}:
        return verdict("killed", killed_by)
    said = run.output.strip()[-SUMMARY:]
    if run.code is None:
        return verdict("timed out", killed_by, said)
    return verdict("survived" if run.code in {0, 1} else "broken", killed_by, said)


def forget_compiled(source: Path) -> None:
    """Remove what *source* was compiled to: that is told by seconds and size, and both may be those of the original."""
    for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.*"):
        compiled.unlink()


def is_part_of(failed: str, test: str) -> bool:
    """Return whether the node id *failed* is *test*, or one of its cases."""
    return failed == test or failed.startswith((f"{test}[", f"{test}::"))


def healthy(tests: Iterable[str], copy: Path, patience: float = 4 * PATIENCE) -> str | None:
    """Return why *tests* do not pass in a *copy* where nothing is wrong, or None if they do: else their failing would prove nothing."""
    run = run_tests(copy, sorted(set(tests)), patience)
    if run.code == 0:
        return None
    return "another copy of keyturn was imported" if run.code == WRONG_COPY else run.output.strip()[-4 * SUMMARY :]
