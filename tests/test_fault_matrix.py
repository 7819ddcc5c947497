"""The table of faults in the documentation is true: every row has its tests, and every test of a row stands in its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "fault-matrix.md"
TESTS = ROOT / "tests" / "faults"
ROWS = range(1, 91)

_ROW = re.compile(r"^\| F(?P<number>\d+) \| (?P<fault>[^|]+) \| (?P<behaviour>[^|]+) \| (?P<error>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
_NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
_TEST_OF_ROW = re.compile(r"test_f(\d+)_")


def listed() -> dict[int, set[tuple[str, str]]]:
    """Return the tests that each row of the page names, as (file, function)."""
    rows = [(int(row["number"]), set(_NAMED.findall(row["tests"]))) for row in _ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert len(dict(rows)) == len(rows), "a row stands twice"
    return dict(rows)


def written() -> set[tuple[str, str]]:
    """Return every test function below tests/faults, in classes too."""
    return {
        (path.name, node.name)
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_a_row_with_a_test_of_its_own() -> None:
    """No row is missing, none is without a test that bears its number, and none is unreadable."""
    rows = listed()
    assert list(ROWS) == sorted(rows)
    bare = [number for number, tests in rows.items() if not any(_number(name) == number for _, name in tests)]
    assert [] == bare
    assert PAGE.read_text(encoding="utf-8").count("\n| F") - len(rows) == PAGE.read_text(encoding="utf-8").count("| F | fault |")


def test_every_named_test_exists() -> None:
    """What the page promises can be run."""
    assert set() == {test for tests in listed().values() for test in tests} - written()


def test_every_test_of_a_row_is_named_in_it() -> None:
    """Nobody adds a test of a row that the page does not know."""
    rows = listed()
    assert [] == [(file, name) for file, name in sorted(written()) if (number := _number(name)) and (file, name) not in rows[number]]


def _number(name: str) -> int | None:
    found = _TEST_OF_ROW.match(name)
    return int(found[1]) if found else None
