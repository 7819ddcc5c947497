"""The table of drilled samples: how it is made, and that the page of the documentation holds one of this drill.

1. What the drill says of a service is copied, never judged anew.
2. The page names every scenario, every sample, and the versions that were drilled.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from examples.drill import samples, table
from examples.drill.samples import SAMPLES, Sample

from keyturn.drill.scenarios import SCENARIOS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "drill-results.md"
# Neither is installed in the environment of the tests, so the versions of pytest stand in.
ONE, OTHER = Sample("one", "One", packages=("pytest",)), Sample("other", "Other", packages=("pytest",))


def scenario(name: str, verdict: str = "pass", text: str = "", new_key_after: float | None = None) -> dict[str, Any]:
    """Return a scenario as the drill reports it."""
    findings = [{"level": verdict, "text": text or "fine"}]
    return {"name": name, "verdict": verdict, "findings": findings, "tokens": [{"sort": "new key", "first_accepted_seconds": new_key_after}]}


def report(*scenarios: dict[str, Any], watch: float = 40.0) -> dict[str, Any]:
    """Return a drill as the drill reports it."""
    return {"watch": watch, "seconds": 12.3, "conclusion": "findings", "scenarios": list(scenarios)}


def results() -> str:
    """Return what stands between the marks of the page."""
    return PAGE.read_text(encoding="utf-8").split(table.BEGIN)[1].split(table.END)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of every row whose first cell is code."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


class TestTheTable:
    """What is made of reports."""

    def test_has_a_row_for_each_scenario_and_a_column_for_each_service(self) -> None:
        """Verdicts are told in the drill's words, and a scenario that only one service was put through is named as such (1)."""
        text = table.rendered({ONE: report(scenario("a"), scenario("b", "fail")), OTHER: report(scenario("a", "unknown"))})

        assert {"a": ["passed", "not judged"], "b": ["**failed**", "not played"]} == rows(text)
        assert "| scenario | One | Other |" in text

    @pytest.mark.parametrize(("waited", "cell"), [(None, "note"), (0.02, "note"), (29.8, "note, new key after 30 s")])
    def test_says_when_a_new_key_was_accepted_late(self, waited: float | None, cell: str) -> None:
        """A key that was accepted at once, or never, has no time."""
        text = table.rendered({ONE: report(scenario("a", "note", new_key_after=waited))})

        assert [cell] == rows(text)["a"]

    def test_tells_below_what_was_no_plain_pass(self) -> None:
        """The finding stands there as it is, whatever signs of Markdown are in it."""
        text = table.rendered({ONE: report(scenario("a"), scenario("b", "fail", "k_1: <lost> | 2*2"))})

        assert r"* `b`, failed: k\_1: \<lost\> \| 2\*2" in text
        assert "`a`, passed" not in text

    def test_names_versions_and_a_sample_that_could_not_be_drilled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader knows what was drilled and what was not (2)."""
        absent = Sample("absent", "Absent", file="server.mjs")
        monkeypatch.setattr(samples.shutil, "which", lambda name: None)
        monkeypatch.setattr(table, "SAMPLES", (ONE, absent))

        text = table.rendered({ONE: report(scenario("a"))})

        assert f"| One | pytest {pytest.__version__} | 12 s | findings |" in text
        assert "| Absent | not drilled: node is not on PATH | - | - |" in text


class TestThePlaceOfTheTable:
    """What a page looks like after it was written to."""

    def test_is_between_the_marks(self, tmp_path: Path) -> None:
        """What stands around them stays, and writing again replaces what was written."""
        page = tmp_path / "page.md"
        page.write_text(f"# Before\n\n{table.BEGIN}\nold\n{table.END}\n\nAfter\n", encoding="utf-8")

        for inside in ("first", "second"):
            table.write(page, inside)

        assert f"# Before\n\n{table.BEGIN}\n\nsecond\n\n{table.END}\n\nAfter\n" == page.read_text(encoding="utf-8")

    @pytest.mark.parametrize("page", ["", table.BEGIN, f"{table.END}{table.BEGIN}", f"{table.BEGIN}{table.END}" * 2])
    def test_must_be_marked_once(self, page: str) -> None:
        """A page without its marks is not written to."""
        with pytest.raises(ValueError, match="once each"):
            table.written(page, "inside")


class TestThePage:
    """What the documentation prints."""

    def test_has_the_scenarios_of_the_drill(self) -> None:
        """The rows are what `keyturn drill --list` names, in its order (2)."""
        assert [scenario.name for scenario in SCENARIOS] == list(rows(results()))

    def test_has_every_sample_with_its_versions(self) -> None:
        """Each sample was drilled, and what it is made of stands there with a version (2)."""
        services = re.findall(r"^\| ([\w ]+) \| (\w+ \d+\.\d[^|]*) \| \d+ s \| [a-z ]+ \|$", results(), re.MULTILINE)

        assert [sample.title for sample in SAMPLES] == [title for title, _ in services]
        assert [len(sample.packages) + sample.on_node for sample in SAMPLES] == [len(made_of.split(", ")) for _, made_of in services]
