"""The texts say what the code does.

1. Every python snippet of README.md and of the documentation runs, in the order of its page; a `text` fence behind
   `<!-- output -->` is what it prints. `<!-- before ... -->` holds code that the reader need not see, and
   `<!-- not run: why -->` excuses a snippet, which must compile all the same.
2. Every setting, error code, event and public name stands in the reference, with its default where it has one.
3. The table of decisions is what the rules decide.
4. A relative link leads somewhere.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import dataclasses
import inspect
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from scripts.decision_table import table as decision_table

import keyturn
from keyturn import cli, errors, events, testing

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
TEXTS = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]

_PART = re.compile(
    r"^<!-- before\n(?P<before>.*?)^-->$"
    r"|(?P<mark>^<!-- (?:output|snippet: [\w-]+|not run: [^\n]+) -->\n)?^```(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Part(NamedTuple):
    """A piece of a page that a test looks at.

    Attributes:
        kind: `before`, `run`, `excused`, `output`, or the name of a snippet that a test of its own runs.
        line: Where its code begins.
        code: The text between the fences.
    """

    kind: str
    line: int
    code: str


def parts(text: str) -> Iterator[Part]:
    """Yield the snippets of a page, and what they print."""
    for match in _PART.finditer(text):
        mark = (match["mark"] or "")[5:-5]
        group = "code" if match["before"] is None else "before"
        line = text.count("\n", 0, match.start(group)) + 1
        if match["before"] is not None:
            yield Part("before", line, match["before"])
        elif mark == "output":
            yield Part("output", line, match["code"])
        elif match["language"] == "python":
            kind = "excused" if mark.startswith("not run") else mark.removeprefix("snippet: ") or "run"
            yield Part(kind, line, match["code"])


def run(part: Part, name: str, names: dict[str, object]) -> str:
    """Run the code of *part* in the namespace *names*, at its own line of the page; return what it prints."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile("\n" * (part.line - 1) + part.code, name, "exec", flags=flags, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, names))
        else:
            exec(code, names)
    return printed.getvalue()


def snippet(name: str) -> str:
    """Return the code of the named snippet, wherever it stands."""
    (code,) = [part.code for page in PAGES for part in parts(page.read_text(encoding="utf-8")) if part.kind == name]
    return code


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the table below *heading* of a page: for the code in the first cell of each row, all of its cells."""
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1].split("\n#")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells for cells in lines}


def defaults(function: object) -> dict[str, str]:
    """Return each parameter with its default as the reference shows it."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]  # type: ignore[arg-type]
    return {p.name: _shown(p.default) for p in parameters}


def _shown(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "needed"
    if default == keyturn.DEFAULT_ALGORITHMS:
        return "`DEFAULT_ALGORITHMS`"
    if inspect.isfunction(default):
        return f"`{default.__name__}`"
    return f"`{default:g}`" if isinstance(default, float) else f'`"{default}"`' if isinstance(default, str) else f"`{default!r}`"


def subclasses(module: object, base: type) -> dict[str, type]:
    """Return the classes of *module* below *base*, by name."""
    return {name: value for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base) and value is not base}


def dead_links(text: Path) -> list[str]:
    """Return the relative links of a text that lead to no file."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text.read_text(encoding="utf-8"))
    return [link for link in links if not (text.parent / link).exists()]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The library's logger; a page that sets its level sets it for the time of a test."""
    logger = logging.getLogger("keyturn")
    before = logger.level
    yield logger
    logger.setLevel(before)


@pytest.mark.usefixtures("logger")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pastes a page's snippets in their order sees what the page says (1)."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for part in parts(page.read_text(encoding="utf-8")):
        where = f"{page.name}:{part.line}"
        if part.kind == "output":
            assert part.code == printed, where
        elif part.kind in {"before", "run"}:
            printed = run(part, str(page), names)
        else:
            compile(part.code, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    """Each name of `__all__` is described on exactly one page (2)."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("reference/*.md"))
    described = re.findall(r"^\.\. auto(?:class|exception|function|data):: keyturn\.(\w+)(?:\(\))?$", text, re.MULTILINE)
    assert sorted(name for name in keyturn.__all__ if not name.startswith("_")) == sorted(described)


def test_every_name_of_the_kit_has_its_place_in_the_reference() -> None:
    """The testing kit is public, too (2)."""
    text = (DOCS / "reference/testing.md").read_text(encoding="utf-8")
    assert set(testing.__all__) <= set(re.findall(r"^\.\. auto(?:class|function|data):: keyturn\.testing\.(\w+)(?:\(\))?$", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["TokenValidator", "KeySetClient", "HttpxFetcher", "FileStore", "MemoryStore", "RolloverPolicy", "IssuerRouter"])
def test_every_setting_is_listed_with_its_default(name: str) -> None:
    """The page of settings names each parameter and its default, and no other (2)."""
    listed = {setting: cells[1] for setting, cells in rows("reference/settings.md", name).items()}
    assert defaults(getattr(keyturn, name).__init__) == listed


def test_every_default_of_the_policy_has_its_reason() -> None:
    """The page of defaults has a row for each field (2)."""
    fields = [field.name for field in dataclasses.fields(keyturn.RolloverPolicy)]
    listed = rows("explanation/defaults.md", "The numbers")
    assert sorted(fields) == sorted(listed)
    assert {} == {name: cells for name, cells in listed.items() if len(cells[-1]) < 20}


def test_the_worst_cases_are_those_of_the_policy() -> None:
    """README.md and the page of defaults give the sums as the policy adds them up (2)."""
    policy, strict = keyturn.RolloverPolicy(), keyturn.RolloverPolicy.strict()
    worst = {name: getattr(policy, name) for name, value in vars(keyturn.RolloverPolicy).items() if isinstance(value, property)}
    shown = {name: f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s" for name, seconds in worst.items()}
    for page in (ROOT / "README.md", DOCS / "explanation/defaults.md"):
        text = page.read_text(encoding="utf-8")
        assert [] == [name for name, figure in shown.items() if not re.search(rf"\*\*{figure}\*\*[^|]*\(`{name}`\)", text)], page.name
    minutes = [f"{getattr(strict, name) / 60:g} minutes" for name in ("longest_trust_after_removal", "longest_trust_in_outage")]
    assert "{} and {}".format(*minutes) in re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_every_error_code_is_listed() -> None:
    """The page of errors names each class with its code and its status (2)."""
    known = {"KeyturnError": keyturn.KeyturnError, **subclasses(errors, errors.KeyturnError)}
    listed = {name: cells[1:3] for name, cells in rows("reference/errors.md", "Codes").items()}
    assert {name: [f"`{kind.code}`", str(kind.http_status)] for name, kind in known.items()} == listed


def test_every_event_is_listed_with_its_fields() -> None:
    """The page of events names each event and what it carries (2)."""
    common = {"issuer", "at"}
    known = {name: {field.name for field in dataclasses.fields(kind)} - common for name, kind in subclasses(events, events.Event).items()}
    del known["KeyEvent"]  # The base of the events about one key is never sent itself.
    assert known == {name: set(re.findall(r"`(\w+)`", cells[1])) for name, cells in rows("reference/events.md", "What is told").items()}


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Return every way to write an option of *parser*, help apart."""
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help"}


def test_every_option_of_the_command_line_is_listed() -> None:
    """The page of the command line has each command with its options, and those that all have (2)."""
    common = {name for row in rows("reference/command-line.md", "For every command").values() for name in re.findall(r"`(-[\w-]+)", row[0])}
    _, commands = cli._parser()
    for command, parser in commands.items():
        listed = {name.split()[0] for name in rows("reference/command-line.md", f"keyturn {command}")}
        assert options(parser) == listed | common, command


def test_the_table_of_decisions_is_current() -> None:
    """The page shows what the rules decide; `python scripts/decision_table.py` writes it anew (3)."""
    text = (DOCS / "explanation/decisions.md").read_text(encoding="utf-8")
    assert decision_table() in text


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(text: Path) -> None:
    """No reader of the sources follows a link into nothing (4)."""
    assert [] == dead_links(text)


PAGE = """\
<!-- before
x = 1
-->
```python
print(x + 1)
```

<!-- output -->
```text
2
```

<!-- not run: it would take a day -->
```python
x = await nothing()
```

<!-- snippet: own -->
```python
x = 9
```

```text
not python
```
"""


def test_parts_are_told_apart() -> None:
    """Hidden code, snippets, what they print, excused and named ones are all seen; other fences are not."""
    expected = [("before", 2), ("run", 5), ("output", 10), ("excused", 15), ("own", 20)]
    assert expected == [(part.kind, part.line) for part in parts(PAGE)]


def test_a_page_that_lies_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that a snippet does not print fails, and so does a snippet that raises."""
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("x + 1", "x + 2"), encoding="utf-8")
    with pytest.raises(AssertionError):
        test_snippets_run(page, tmp_path, monkeypatch)
    page.write_text(PAGE.replace("x + 1", "y"), encoding="utf-8")
    with pytest.raises(NameError):
        test_snippets_run(page, tmp_path, monkeypatch)


def test_awaiting_snippets_run() -> None:
    """A snippet may await, as a notebook's cell may."""
    assert "3\n" == run(Part("run", 1, "import asyncio\nawait asyncio.sleep(0)\nprint(3)"), "page", {})


def test_rows_are_those_below_their_heading(tmp_path: Path) -> None:
    """A row of another table, or a line of prose, does not pass for a setting that is listed."""
    page = tmp_path / "page.md"
    page.write_text("# A\n\n| `x` | `1` |\n\n## B\n\n`prose`\n\n| head | d |\n|---|---|\n| `y` | `2` |\n\n## C\n\n| `z` | `3` |\n", encoding="utf-8")
    assert {"y": ["`y`", "`2`"]} == rows(str(page), "B")


def test_a_link_into_nothing_is_found(tmp_path: Path) -> None:
    """Links to files are followed; links to other hosts and within the page are not."""
    page = tmp_path / "page.md"
    page.write_text("[a](page.md) [b](https://example.com/x) [c](#top) [d](gone.md#top)", encoding="utf-8")
    assert ["gone.md"] == dead_links(page)
