"""`python -m tests.fuzz`: every target in turn, a table at the end, JSON with `--json`; exit code 1 if anything was found."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from tests.fuzz import platforms, replaying, running
from tests.fuzz.folders import Folders
from tests.fuzz.replaying import Replay
from tests.fuzz.running import Run

REPLAYED = 0.15
"""Part of the time that is kept for replaying what was found."""

MOST_GROWTH = 64
"""Megabytes by which the resident memory of a run may grow after the seeds; the engine's own corpus is in it."""

MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one target.

    Attributes:
        target: Its name.
        run: The fuzzing.
        replay: The replay of what it kept.
        finds: Every file that holds a find.
    """

    target: str
    run: Run
    replay: Replay
    finds: tuple[str, ...]

    @property
    def growth(self) -> int:
        """Megabytes by which the process grew after its seeds."""
        return max(0, self.run.progress.megabytes - self.run.progress.first_megabytes)

    @property
    def met(self) -> bool:
        """Whether nothing was found and memory stayed flat."""
        return not self.finds and self.run.code == 0 and self.growth <= MOST_GROWTH and self.replay.left <= replaying.MOST_LEFT


def main() -> int:
    """Fuzz, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to fuzz (default: everything)")
    parser.add_argument("--seconds", type=int, default=60, help="time for everything together (default: 60)")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where seeds, kept inputs and finds go (default: .fuzz)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    obstacle = platforms.here()
    if obstacle is not None:
        print(f"skipped: fuzzing; {obstacle}")
        return 0
    rows = _rows(arguments.targets, arguments.seconds, arguments.folder, parser)
    if arguments.json:
        print(json.dumps(_report(rows, arguments.seconds), indent=2))
    else:
        _print(rows, arguments.seconds)
    return 0 if all(row.met for row in rows) else 1


def _rows(chosen: list[str], seconds: int, folder: Path, parser: argparse.ArgumentParser) -> list[Row]:
    """Share the time out: what one target leaves over is the next one's."""
    end = time.perf_counter() + seconds
    # Not instrumented in this process, which replays what the engine's processes keep.
    targets = importlib.import_module("tests.fuzz.targets").TARGETS
    unknown = set(chosen) - set(targets)
    if unknown:
        parser.error(f"unknown target {', '.join(sorted(unknown))}, expected {', '.join(targets)}")
    rows: list[Row] = []
    names = [name for name in targets if name in chosen or not chosen]
    for number, name in enumerate(names):
        share = (end - time.perf_counter()) / (len(names) - number)
        folders = Folders(folder, name)
        run = running.run(name, max(1, round(share * (1 - REPLAYED))), folder, lambda progress, passed, name=name: _tell(name, progress, passed))
        rows.append(_row(name, run, replaying.replay(targets[name], folders), folders))
    return rows


def _row(name: str, run: Run, replay: Replay, folders: Folders) -> Row:
    finds = tuple(sorted({str(path) for path in (*folders.found(), *replay.finds)}))
    if run.code:
        print("\n".join(running.traceback_of(run.last_words)), file=sys.stderr)
    return Row(name, run, replay, finds)


def _tell(name: str, progress: running.Progress, passed: float) -> None:
    print(
        f"{name}: {passed:.0f} s, {progress.executions:,} executions, {progress.coverage:,} edges, "
        f"{progress.inputs:,} inputs, {progress.megabytes} MB",
        file=sys.stderr,
        flush=True,
    )


def _report(rows: list[Row], seconds: int) -> dict[str, object]:
    return {
        "schema": 1,
        **_versions(),
        "seconds": seconds,
        "targets": [
            {
                "target": row.target,
                "exit_code": row.run.code,
                **asdict(row.run.progress),
                "growth_megabytes": row.growth,
                "replayed": row.replay.inputs,
                "slowest_milliseconds": row.replay.slowest * 1_000,
                "largest_bytes": row.replay.largest,
                "left_bytes": row.replay.left,
                "finds": row.finds,
                "met": row.met,
            }
            for row in rows
        ],
        "met": all(row.met for row in rows),
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in ("atheris", "cryptography", "pyjwt")}}


def _print(rows: list[Row], seconds: int) -> None:
    versions = _versions()
    print(f"Python {versions['python']}, atheris {versions['atheris']}, cryptography {versions['cryptography']}, {seconds} s in all\n")
    titles = {"executions": 12, "edges": 8, "new inputs": 12, "replayed": 10, "slowest, ms": 13, "largest, MB": 13, "growth, MB": 12, "finds": 7}
    print("target      " + "".join(f"{title:>{width}}" for title, width in titles.items()))
    for row in rows:
        progress, replay = row.run.progress, row.replay
        print(
            f"{row.target:<12}{progress.executions:>12,}{progress.coverage:>8,}{progress.new_inputs:>12,}{replay.inputs:>10,}"
            f"{replay.slowest * 1_000:>13.2f}{replay.largest / MEGABYTE:>13.2f}{row.growth:>12}{len(row.finds):>7}{'' if row.met else '   FOUND'}"
        )
    for row in rows:
        for path in row.finds:
            print(f"find: {path}")
        if row.replay.left > replaying.MOST_LEFT:
            print(
                f"{row.target}: a second round left {row.replay.left / MEGABYTE:.1f} MB behind, expected at most {replaying.MOST_LEFT / MEGABYTE:.0f}"
            )
        if row.run.code and not row.finds:
            print(f"{row.target}: the engine ended with code {row.run.code}")


if __name__ == "__main__":
    sys.exit(main())
