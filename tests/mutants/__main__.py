"""Puts one fault after another into copies of the source, and shows whether the tests notice: `python -m tests.mutants`.

Exit code 0 if every fault was killed by every test that has to notice it, 1 if not, 2 if no fault has the name that was asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.mutants.mutant import Mutant
from tests.mutants.runner import PATIENCE, Verdict, copied, healthy, judge
from tests.mutants.table import ALL, named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Put faults into copies of the source; show whether tests notice.")
    parser.add_argument("--only", default="", metavar="M12", help="these faults alone, divided by commas; M12 means M12a and M12b too")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--json", action="store_true", help="write the verdicts as JSON; progress goes to standard error")
    options = parser.parse_args(arguments)
    wanted = [part.strip() for part in options.only.split(",") if part.strip()]
    unknown = [name for name in wanted if not named(name)]
    if unknown:
        print(f"no fault is named {', '.join(unknown)}; there are {', '.join(mutant.number for mutant in ALL)} (setting: --only)", file=sys.stderr)
        return 2
    chosen = [mutant for mutant in ALL if not wanted or any(mutant in named(name) for name in wanted)]
    verdicts = run(chosen, options.jobs)
    if verdicts is None:
        return 1
    if options.json:
        print(json.dumps([verdict.as_json() for verdict in verdicts], indent=2))
    else:
        show(verdicts)
    return int(any(verdict.outcome != "killed" for verdict in verdicts))


def run(mutants: Sequence[Mutant], jobs: int) -> list[Verdict] | None:
    """Return the verdicts in the order of *mutants*, or None if the tests do not pass without a fault."""
    tests = {test for mutant in mutants for test in mutant.tests}
    files = sorted({test.partition("::")[0] for test in tests})
    halves = [[test for test in tests if test.partition("::")[0] in files[part::2]] for part in range(2)]
    told(f"{len(mutants)} faults, {len(tests)} tests; first the tests alone")
    with copied() as clean, ThreadPoolExecutor(max_workers=jobs) as pool:
        reasons = [reason for reason in pool.map(lambda half: healthy(half, clean), filter(None, halves)) if reason]
        if reasons:
            told("\n".join(["the tests do not pass on the source as it is:", *reasons]))
            return None
        # Copied from where the tests have just run, so that nothing is compiled eighty times.
        waiting = [pool.submit(judge, mutant, clean) for mutant in mutants]
        for number, done in enumerate(as_completed(waiting), 1):
            verdict = done.result()
            told(f"[{number}/{len(mutants)}] {verdict.number:5} {verdict.outcome:9} {verdict.seconds:5.1f} s  {verdict.rule}")
    return [each.result() for each in waiting]


def show(verdicts: Sequence[Verdict]) -> None:
    """Write the table, what lived on, and the count."""
    width = max(len(verdict.rule) for verdict in verdicts)
    place = max(len(verdict.file) for verdict in verdicts)
    print(f"\n{'fault':5}  {'outcome':9}  {'what it breaks':{width}}  {'in':{place}}  killed by")
    for verdict in verdicts:
        by = ", ".join(test.rpartition("::")[2] if not test.endswith("runTest") else test.split("::")[1] for test in verdict.killed_by)
        print(f"{verdict.number:5}  {verdict.outcome:9}  {verdict.rule:{width}}  {verdict.file:{place}}  {by}")
    alive = [verdict for verdict in verdicts if verdict.outcome != "killed"]
    for verdict in alive:
        print(f"\n{verdict.number} {verdict.outcome} ({verdict.rule}, {verdict.file}); not noticed by {', '.join(verdict.missing) or 'nobody'}")
        print(verdict.said or f"no end within {PATIENCE:.0f} s")
    print(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} faults killed")


def told(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
