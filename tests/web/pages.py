"""Snippets of the documentation that need a web framework, run in the environment that has it.

A snippet with the mark `<!-- snippet: web-mcp -->` is run by the tests of that family, after the snippets of its page that need no
framework; everywhere else it must compile. What it shows it asserts.
"""

from __future__ import annotations

from pathlib import Path

from tests.test_docs import DOCS, PAGES, parts, run


def pages(family: str) -> list[str]:
    """Return the pages that have snippets of *family*, such as `web-mcp`."""
    return [page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS) and family in _kinds(page)]


def run_page(page: str, family: str) -> None:
    """Run the snippets of a page, in their order and in one namespace."""
    names: dict[str, object] = {"__name__": "__main__"}
    for part in parts((DOCS / page).read_text(encoding="utf-8")):
        if part.kind in {"before", "run", family}:
            run(part, str(DOCS / page), names)


def _kinds(page: Path) -> set[str]:
    return {part.kind for part in parts(page.read_text(encoding="utf-8"))}
