"""The table of several drills, as the documentation shows it, and its place in the page.

1. A row is a scenario, a column a service, and a cell the verdict that the drill came to; nothing is judged here.
2. Everything that was no plain pass is told below the table in the drill's own words.
3. What stands between the two marks of a page is written by the command alone.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.drill.samples import SAMPLES, Sample

BEGIN, END = "<!-- drill results: begin -->", "<!-- drill results: end -->"
WORDS = {"pass": "passed", "note": "note", "unknown": "not judged", "fail": "**failed**"}
AT_ONCE = 1.0
"""Seconds below which the first token of a new key counts as accepted at once."""

_NEW = "new key"

Report = Mapping[str, Any]
"""What `keyturn drill --json` writes."""


def rendered(reports: Mapping[Sample, Report]) -> str:
    """Return everything that stands between the marks."""
    watch = max(report["watch"] for report in reports.values())
    python = f"{platform.python_implementation()} {platform.python_version()}"
    blocks = [
        f"Drilled in {time.strftime('%B %Y')} with {python}; every time was watched for {watch:g} s at most.",
        "\n".join(_versions(reports)),
        "\n".join(_table(reports)),
        *(block for sample, report in reports.items() for block in _remarks(sample, report)),
    ]
    return "\n\n".join(blocks)


def written(page: str, inside: str) -> str:
    """Return *page* with *inside* between its marks.

    Raises:
        ValueError: The marks do not stand there once each, in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"expected {BEGIN} and {END} once each")
    return f"{before}{BEGIN}\n\n{inside}\n\n{END}{after}"


def write(path: Path, inside: str) -> None:
    """Put *inside* between the marks of the page at *path*."""
    path.write_text(written(path.read_text(encoding="utf-8"), inside), encoding="utf-8")


def _versions(reports: Mapping[Sample, Report]) -> list[str]:
    lines = ["| service | made of | took | came to |", "|---|---|---|---|"]
    lines += [f"| {each.title} | {each.versions} | {report['seconds']:.0f} s | {report['conclusion']} |" for each, report in reports.items()]
    return [*lines, *(f"| {each.title} | not drilled: {each.missing} | - | - |" for each in SAMPLES if each not in reports)]


def _table(reports: Mapping[Sample, Report]) -> list[str]:
    by_name = {sample: {each["name"]: each for each in report["scenarios"]} for sample, report in reports.items()}
    names = dict.fromkeys(name for found in by_name.values() for name in found)
    lines = [f"| scenario | {' | '.join(sample.title for sample in reports)} |", f"|---{'|---' * len(reports)}|"]
    return [*lines, *(f"| `{name}` | {' | '.join(_cell(found.get(name)) for found in by_name.values())} |" for name in names)]


def _cell(scenario: Mapping[str, Any] | None) -> str:
    if scenario is None:
        return "not played"
    word = WORDS[scenario["verdict"]]
    waited = max((each["first_accepted_seconds"] or 0.0 for each in scenario["tokens"] if each["sort"] == _NEW), default=0.0)
    return f"{word}, new key after {waited:.0f} s" if waited > AT_ONCE else word


def _remarks(sample: Sample, report: Report) -> Sequence[str]:
    seen = [f"* `{each['name']}`, {WORDS[each['verdict']].strip('*')}: {_escaped(_told(each))}" for each in report["scenarios"] if _told(each)]
    return [f"**{sample.title}**, what was no plain pass:", "\n".join(seen)] if seen else [f"**{sample.title}**: every scenario passed."]


def _told(scenario: Mapping[str, Any]) -> str:
    return "; ".join(finding["text"] for finding in scenario["findings"] if finding["level"] != "pass")


def _escaped(text: str) -> str:
    """Return *text* so that Markdown shows it as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|#" else letter for letter in text)
