"""`python -m examples.drill`: drill every sample service and print the table; `--write` puts it into the documentation.

1. Each sample is drilled by `keyturn drill`, which starts it anew for each scenario. Two are drilled at the same time: they mostly wait.
2. A sample that cannot be started here, since Node or npm is missing, is named and left out.
3. What another library came to is a result, not a failure of this command; it fails if a drill could not be run, or if keyturn's own
   sample did not pass.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from examples.drill import table
from examples.drill.samples import SAMPLES, Sample

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "drill-results.md"
REPORTS = ROOT / ".drill"
WATCH = 40.0
"""Seconds that times are watched: more than the 30 for which two of the libraries, left as they come, do not ask again."""

AT_ONCE = 2
"""Samples that are drilled at the same time."""


class NoReportError(Exception):
    """A drill ended without a report."""


def drilled(sample: Sample, arguments: argparse.Namespace) -> table.Report:
    """Drill *sample* and return the report.

    Raises:
        NoReportError: There is none.
    """
    command = [sys.executable, "-m", "keyturn", "drill", "http://127.0.0.1:0/orders", "--start", shlex.join(sample.command)]
    command += ["--name", sample.title, "--watch", str(arguments.watch), "--json", "--html", str(REPORTS / f"{sample.name}.html")]
    command += [word for name in arguments.only for word in ("--only", name)]
    print(f"{sample.title}: started", file=sys.stderr, flush=True)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not ended.stdout.strip():
        raise NoReportError(f"{sample.title}: the drill ended with exit code {ended.returncode} and no report:\n{ended.stderr}")
    report: table.Report = json.loads(ended.stdout)
    (REPORTS / f"{sample.name}.json").write_text(ended.stdout, encoding="utf-8")
    print(f"{sample.title}: {report['conclusion']} after {report['seconds']:.0f} s", file=sys.stderr, flush=True)
    return report


def main() -> int:
    """Drill, print or write, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.drill", description="Drill every sample service and print the table.")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    parser.add_argument("--watch", type=float, default=WATCH, metavar="S", help=f"seconds for which times are watched at most (default: {WATCH:g})")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="play this scenario and the baseline; may be given again")
    arguments = parser.parse_args()
    begun = time.monotonic()
    REPORTS.mkdir(exist_ok=True)
    present = [sample for sample in SAMPLES if sample.missing is None]
    for sample in SAMPLES:
        if sample.missing is not None:
            print(f"skipped: {sample.title}; {sample.missing}", file=sys.stderr)
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reports = dict(zip(present, pool.map(lambda sample: drilled(sample, arguments), present), strict=True))
    except NoReportError as error:
        print(error, file=sys.stderr)
        return 2
    inside = table.rendered(reports)
    if arguments.write:
        table.write(PAGE, inside)
    else:
        print(inside)
    print(f"took {time.monotonic() - begun:.0f} s; reports for browsers stand in {REPORTS.relative_to(ROOT)}/", file=sys.stderr)
    return int(reports[SAMPLES[0]]["conclusion"] != "passed")


if __name__ == "__main__":
    sys.exit(main())
