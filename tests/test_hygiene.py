"""What must not be in the repository, and what its texts must agree on.

1. No file names a path of one machine, the host of a package registry, a tracker's number, or work that is left over.
2. `requirements/` names versions and hashes, never an address, and holds what pyproject.toml asks for.
3. Every `make` target that a text names exists; CI and CONTRIBUTING.md run the same four.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each pattern is written so that it does not match itself.
FORBIDDEN = {
    "path of a machine": re.compile(
        r"(?<![\w.:/])/(?:work|root|Users|home/(?!user\b)\w+)/|[A-Z]:\\Users\\|file:[/]{3}(?:mnt|opt|srv|work|root|home|Users)/"
    ),
    "registry host": re.compile(r"\b(?:pypi[.]org|pythonhosted[.]org|registry[.](?:npmjs|yarnpkg)[.]\w+|npmjs[.]com/package|crates[.]io)"),
    "work left over": re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X]|HA[C]K|WI[P])\b|NotImplemented[E]rror"),
    "number of a tracker": re.compile(r"\b(?:issue|pull request|PR|bug|ticket)s? #?\d+\b|\(#\d+\)", re.IGNORECASE),
}

# Published test vectors are kept as they were published.
VECTORS = "tests/conformance/*.json"


def committed(root: Path) -> Iterator[Path]:
    """Yield the files below *root* that its `.gitignore` lets through."""
    ignored = [line.rstrip("/") for line in (root / ".gitignore").read_text(encoding="utf-8").split() if not line.startswith("#")]
    waiting = [root]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            inside = path.relative_to(root).as_posix()
            if path.name == ".git" or any(fnmatch.fnmatch(path.name, name) or inside == name for name in ignored):
                continue
            if path.is_dir():
                waiting.append(path)
            else:
                yield path


def forbidden(line: str) -> list[str]:
    """Return which kinds of forbidden text stand in *line*."""
    return [what for what, pattern in FORBIDDEN.items() if pattern.search(line)]


def findings(root: Path) -> list[str]:
    """Return every line below *root* that a pattern forbids, as `file:line: what`."""
    result = []
    for path in committed(root):
        name = path.relative_to(root).as_posix()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        if not fnmatch.fnmatch(name, VECTORS):
            result += [f"{name}:{number}: {what}" for number, line in enumerate(lines, 1) for what in forbidden(line)]
    return result


def targets(makefile: str) -> set[str]:
    """Return the targets that *makefile* defines by name."""
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def named_targets(text: str) -> set[str]:
    """Return the targets that *text* tells its reader to make, in code between backticks or on a line of its own."""
    return set(re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z][a-z-]*)", text, re.MULTILINE))


def pins(name: str) -> dict[str, set[str]]:
    """Return the pinned versions of every package in `requirements/`*name*."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements" / name).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def wanted(*groups: str) -> set[str]:
    """Return the names of the packages that pyproject.toml asks for: dependencies, and those of *groups*."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*project["project"]["dependencies"], *(line for group in groups for line in project["dependency-groups"][group])]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines}


def test_nothing_forbidden_is_committed() -> None:
    """No committed text holds what rule 1 forbids."""
    assert [] == findings(ROOT)


def test_lock_files_full_of_addresses_are_not_committed() -> None:
    """The lock files of installers name the host of every file, so they stay out."""
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert [] == [path for path in committed(ROOT) if path.name in {"uv.lock", "pylock.toml", "poetry.lock"}]


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_requirements_hold_versions_and_hashes_alone(path: Path) -> None:
    """Any registry or mirror can serve them, and only the file that was locked (2)."""
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [] == [
        entry.splitlines()[0] for entry in entries if not re.match(r"[\w.-]+==\S+[^\n]*(?:\n    --hash=sha256:[0-9a-f]{64}[ \\]*)+$", entry)
    ]


def test_one_environment_serves_the_demo_and_the_tests() -> None:
    """dev.txt holds everything of run.txt in the same versions, so either may be installed first."""
    dev = pins("dev.txt")
    assert {} == {name: versions for name, versions in pins("run.txt").items() if dev.get(name) != versions}


@pytest.mark.parametrize(("name", "groups"), [("dev.txt", ("test", "lint", "docs", "build")), ("run.txt", ("build",)), ("fuzz.txt", ("fuzz",))])
def test_requirements_hold_what_the_project_asks_for(name: str, groups: tuple[str, ...]) -> None:
    """A dependency that pyproject.toml gained is pinned, too (`make lock`)."""
    assert set() == wanted(*groups) - set(pins(name))


def test_every_dependency_has_its_reason() -> None:
    """The page of dependencies names each required package and each extra (few, and each for a reason)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    assert [] == [name for name in (*wanted(), *project["optional-dependencies"]) if f"`{name}`" not in page]


def test_every_named_target_exists() -> None:
    """Whoever follows README.md, CONTRIBUTING.md or the documentation meets no unknown target (3)."""
    texts = {path: path.read_text(encoding="utf-8") for path in committed(ROOT) if path.suffix == ".md"}
    known = targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert ROOT / "CONTRIBUTING.md" in texts
    assert {} == {path.name: missing for path, text in texts.items() if (missing := named_targets(text) - known)}


def test_ci_runs_what_contributors_run() -> None:
    """CONTRIBUTING.md needs no command but the four of CI (3)."""
    ci, contributing = ((ROOT / name).read_text(encoding="utf-8") for name in (".ci/run", "CONTRIBUTING.md"))
    commands = re.findall(r"^```\w*\n(.*?)^```$", contributing, re.MULTILINE | re.DOTALL)
    assert {"check", "test", "mutants", "fuzz"} == named_targets(ci) == named_targets("\n".join(commands))


@pytest.mark.parametrize(
    "line",
    [
        "see /wo" + "rk/main/file.py",
        "cd /ro" + "ot/project",
        "open('/ho" + "me/alice/keys.json')",
        "C:\\Us" + "ers\\alice",
        "find-links = file:" + "///opt/wheels",
        "https://py" + "pi.org/simple",
        '"resolved": "https://registry.np' + 'mjs.org/jose"',
        "# TO" + "DO: later",
        "raise NotImplemented" + "Error",
        "fixes iss" + "ue 12",
        "see (#" + "34)",
    ],
)
def test_a_forbidden_line_is_found(tmp_path: Path, line: str) -> None:
    """The check sees the line, in any committed file, and says where it stands."""
    (tmp_path / ".gitignore").write_text("build/\n", encoding="utf-8")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "log.txt").write_text(line, encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(f"fine\n{line}\n", encoding="utf-8")

    (finding,) = findings(tmp_path)

    assert finding.startswith("docs/page.md:2: ")


@pytest.mark.parametrize(
    "line",
    ["https://login.example.com/home/alice/", "x5t#S256", "file:///etc/passwd", "./work/list", "/var/lib/keyturn/keys.json", "pip install keyturn"],
)
def test_an_innocent_line_passes(tmp_path: Path, line: str) -> None:
    """The check is no stricter than its rule."""
    (tmp_path / ".gitignore").write_text("", encoding="utf-8")
    (tmp_path / "page.md").write_text(line, encoding="utf-8")

    assert [] == findings(tmp_path)


def test_targets_are_read_as_make_reads_them() -> None:
    """Variables and files are no targets; targets in prose, in code and on lines of their own are all seen."""
    assert {"demo", "node-idp"} == targets("VENV := .venv\ndemo: x ## Play.\n\techo a: b\nnode-idp:\n$(PY):\n.PHONY: demo\n")
    assert {"demo", "test", "bench"} == named_targets("Run `make demo`, then:\n\n    make test\n\n$ make bench\n\nThey make sense.\n")
