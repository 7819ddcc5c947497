"""The snippets of this family run as they stand, and the matrix says what the table of cases checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.test_docs import DOCS
from tests.web.conformance import CASES, missing_from
from tests.web.matrix import kinds_of
from tests.web.pages import pages, run_page

OURS = {"howto/aiohttp.md", "howto/asgi.md", "howto/fastapi.md", "howto/litestar.md", "howto/quart.md", "howto/starlette.md"}
MATRIX = DOCS / "reference" / "web-conformance.md"


@pytest.mark.parametrize("page", pages("web-asgi"))
def test_snippets_run(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever pastes a page's snippets in their order sees what the page says."""
    monkeypatch.chdir(tmp_path)
    run_page(page, "web-asgi")


def test_each_page_is_found() -> None:
    """The how-to pages of this family have snippets that are run here."""
    assert set(pages("web-asgi")) >= OURS


def test_the_matrix() -> None:
    """The documentation shows for each adapter what was checked, and why something cannot be."""
    kinds = kinds_of("asgi")
    assert {"aiohttp", "ASGI middleware", "FastAPI", "Litestar", "Quart", "Starlette"} == {kind.name.split(",")[0] for kind in kinds}
    assert [] == missing_from(MATRIX.read_text(encoding="utf-8"), kinds)


def test_the_cases_are_described() -> None:
    """Every case of the table has its line, in the order of the matrix's columns, and says what its docstring says."""
    page = MATRIX.read_text(encoding="utf-8")
    heads = "".join(f" {case.__name__.replace('_', ' ')} |" for case in CASES)
    assert f"| adapter |{heads}" in page.splitlines()
    for case in CASES:
        first = str(case.__doc__).split("\n", maxsplit=1)[0]
        assert f"| {case.__name__.replace('_', ' ')} | {first} |" in page.splitlines()
