"""The snippets about MCP and gRPC run as they stand, and the matrix says what the table of cases checked."""

from __future__ import annotations

import pytest
from tests.test_docs import DOCS
from tests.web.conformance import missing_from
from tests.web.mcp import test_fastmcp, test_grpc, test_mcp
from tests.web.pages import pages, run_page


@pytest.mark.parametrize("page", pages("web-mcp"))
def test_snippets_run(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Whoever pastes a page's snippets in their order sees what the page says."""
    monkeypatch.chdir(tmp_path)
    run_page(page, "web-mcp")


def test_each_page_is_found() -> None:
    """The how-to pages of this family have snippets that are run here."""
    assert {"howto/mcp.md", "howto/grpc.md"} <= set(pages("web-mcp"))


def test_the_matrix() -> None:
    """The documentation shows for each adapter what was checked, and why something cannot be."""
    page = (DOCS / "reference" / "web-conformance.md").read_text(encoding="utf-8")
    assert [] == missing_from(page, [*test_mcp.KINDS, *test_fastmcp.KINDS, *test_grpc.KINDS])
