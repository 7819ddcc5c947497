"""The runner of named faults tells a fault that dies from one that lives, and never takes an accident for a proof."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.mutants import __main__ as command
from tests.mutants import runner
from tests.mutants.mutant import Mutant, StaleMutantError
from tests.mutants.runner import Verdict, healthy, is_part_of, judge
from tests.mutants.table import ALL, named, place

ROOT = Path(__file__).parents[2]
SOURCE = '''"""Adds."""
import threading

TURN = threading.Event()
WAIT = 0

def add(a, b):
    TURN.wait(WAIT)
    return a + b  # What a test looks at.
'''
TESTS = """import keyturn

def test_sum():
    assert keyturn.add(1, 2) == 3

def test_nothing():
    keyturn.add(0, 0)
"""
SUM, NOTHING = "tests/test_small.py::test_sum", "tests/test_small.py::test_nothing"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package of one function that calls itself keyturn, with two tests."""
    (tmp_path / "src" / "keyturn").mkdir(parents=True)
    (tmp_path / "src" / "keyturn" / "__init__.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    shutil.copy2(ROOT / "tests" / "mutants" / "witness.py", tmp_path / "tests" / "mutants")
    (tmp_path / "tests" / "test_small.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest]\naddopts = ["--import-mode=importlib"]\npythonpath = ["."]\n', encoding="utf-8")
    return tmp_path


def fault(before: str, after: str, *tests: str) -> Mutant:
    """Return a fault of the small package."""
    return Mutant(number="M1", file="__init__.py", before=before, after=after, rule="adds", tests=tests or (SUM,))


def test_a_fault_that_is_noticed_is_killed(project: Path) -> None:
    """Its test fails; the source itself is left as it was."""
    verdict = judge(fault("a + b", "a - b"), project)
    assert ("killed", (SUM,), ()) == (verdict.outcome, verdict.killed_by, verdict.missing)
    assert (project / "src" / "keyturn" / "__init__.py").read_text(encoding="utf-8") == SOURCE


def test_a_change_that_does_not_matter_survives(project: Path) -> None:
    """Every test passes, and the verdict says who did not notice."""
    verdict = judge(fault("What a test looks at", "What no test looks at"), project)
    assert ("survived", (), (SUM,)) == (verdict.outcome, verdict.killed_by, verdict.missing)


def test_every_named_test_has_to_notice(project: Path) -> None:
    """One that does is not enough: each suite of a row is on its own."""
    verdict = judge(fault("a + b", "a - b", SUM, NOTHING), project)
    assert ("survived", (SUM,), (NOTHING,)) == (verdict.outcome, verdict.killed_by, verdict.missing)


def test_what_does_not_run_is_broken(project: Path) -> None:
    """A fault that cannot even be imported proves nothing about the tests."""
    verdict = judge(fault("def add(a, b):", "def add(a, b"), project)
    assert "broken" == verdict.outcome
    assert "SyntaxError" in verdict.said


def test_a_fault_that_hangs_is_ended_and_told_so(project: Path) -> None:
    """It counts as killed only if the named test failed before."""
    verdict = judge(fault("WAIT = 0", "WAIT = 600"), project, patience=4.0)
    assert ("timed out", (SUM,)) == (verdict.outcome, verdict.missing)


@pytest.mark.parametrize("before", ["a * b", "a"], ids=["nowhere", "in several places"])
def test_a_text_that_does_not_stand_there_once_is_stale(project: Path, before: str) -> None:
    """The row has to be brought up to date, whatever the tests would say."""
    verdict = judge(fault(before, "0"), project)
    assert "stale" == verdict.outcome
    assert "expected its text once" in verdict.said


def test_a_row_that_changes_nothing_is_stale(project: Path) -> None:
    """Nobody could notice it."""
    with pytest.raises(StaleMutantError):
        fault("a + b", "a + b").apply(project / "src" / "keyturn")


def test_only_what_passes_without_a_fault_can_prove_one(project: Path) -> None:
    """A test that fails anyway, or that tests another copy, is told before any fault is tried."""
    assert None is healthy([SUM], project)
    assert "not found" in str(healthy(["tests/test_small.py::test_gone"], project))
    shutil.rmtree(project / "src")
    assert "another copy of keyturn was imported" == healthy([SUM], project)


@pytest.mark.parametrize(
    ("failed", "belongs"),
    [(SUM, True), (f"{SUM}[1-a]", True), (f"{SUM}::runTest", True), (f"{SUM}_of_three", False), (NOTHING, False)],
)
def test_cases_belong_to_their_test(failed: str, belongs: bool) -> None:
    """A parameter is a part of its test, a longer name is another one."""
    assert belongs is is_part_of(failed, SUM)


class TestTable:
    """What the table must hold."""

    def test_every_number_is_there_once(self) -> None:
        """M1 to M56, with letters where one of them stands for several."""
        numbers = [mutant.number for mutant in ALL]
        assert len(set(numbers)) == len(numbers)
        assert list(range(1, 64)) == sorted({place(number)[0] for number in numbers})

    @pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.number)
    def test_no_row_is_stale(self, mutant: Mutant, tmp_path: Path) -> None:
        """The text that a row changes stands in the source, once; so a change of the source shows at once which rows it touches."""
        copy = tmp_path / mutant.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / "src" / "keyturn" / mutant.file, copy)
        mutant.apply(tmp_path)

    def test_a_name_means_its_letters_too(self) -> None:
        """M12 is M12a to M12c, and M1 is M1 alone."""
        assert ["M12a", "M12b", "M12c"] == [mutant.number for mutant in named("M12")]
        assert ["M1"] == [mutant.number for mutant in named("M1")]
        assert () == named("M99")

    def test_a_name_that_is_none(self) -> None:
        """A row with an odd name is a mistake of the table."""
        with pytest.raises(ValueError, match="expected a name such as M12"):
            place("12")


class TestCommand:
    """`python -m tests.mutants`."""

    @pytest.fixture(autouse=True)
    def verdicts(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """What becomes of faults without running anything: killed, unless the test says something else."""
        outcomes: dict[str, str] = {}

        def judged(mutant: Mutant, root: Path) -> Verdict:
            outcome = outcomes.get(mutant.number, "killed")
            killed_by = mutant.tests if outcome == "killed" else ()
            return Verdict(mutant.number, mutant.rule, mutant.file, outcome, killed_by, tuple(set(mutant.tests) - set(killed_by)), 0.0, "")

        monkeypatch.setattr(command, "judge", judged)
        monkeypatch.setattr(command, "healthy", lambda tests, copy: None)
        return outcomes

    def test_all_killed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit code 0, a line for each, and the count."""
        assert 0 == command.main(["--only", "M12"])
        assert "3 of 3 faults killed" in capsys.readouterr().out

    @pytest.mark.parametrize("outcome", ["survived", "stale", "timed out", "broken"])
    def test_one_that_was_not(self, verdicts: dict[str, str], outcome: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit code 1, and the one is named with the tests that did not notice."""
        verdicts["M12b"] = outcome
        assert 1 == command.main(["--only", "M1,M12"])
        out = capsys.readouterr().out
        assert "3 of 4 faults killed" in out
        assert f"M12b {outcome}" in out

    def test_json(self, verdicts: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        """Standard output is one JSON document; progress goes elsewhere."""
        verdicts["M12c"] = "survived"
        assert 1 == command.main(["--only", "M12", "--json"])
        told = json.loads(capsys.readouterr().out)
        assert ["killed", "killed", "survived"] == [each["outcome"] for each in told]

    def test_a_name_of_no_fault(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit code 2; nothing is run."""
        assert 2 == command.main(["--only", "M99"])
        assert "no fault is named M99" in capsys.readouterr().err

    def test_tests_that_fail_anyway(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit code 1 before any fault is tried."""
        monkeypatch.setattr(command, "healthy", lambda tests, copy: "1 failed")
        assert 1 == command.main(["--only", "M12"])
        assert "do not pass on the source as it is" in capsys.readouterr().err


def test_the_copy_holds_what_runs(project: Path) -> None:
    """Source, tests and settings, and nothing that was not asked for."""
    (project / "tests" / "node_modules").mkdir()
    with runner.copied(project) as copy:
        assert {"src", "tests", "pyproject.toml"} == {path.name for path in copy.iterdir()}
        assert not (copy / "tests" / "node_modules").exists()
    assert not copy.exists()
