"""The snippets about Flask, Django and their kin run as they stand, and the matrix says what the table of cases checked."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import pytest
from django.test import override_settings
from tests.test_docs import DOCS, Part, parts, run
from tests.web.conformance import missing_from
from tests.web.pages import pages, run_page
from tests.web.wsgi import test_django_conformance, test_flask, test_wsgi

FAMILY = "web-wsgi"
DJANGO = "howto/django.md"


@pytest.mark.parametrize("page", [page for page in pages(FAMILY) if page != DJANGO])
def test_snippets_run(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Whoever pastes a page's snippets in their order sees what the page says."""
    monkeypatch.chdir(tmp_path)
    run_page(page, FAMILY)


def test_the_django_project_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets of the page are the modules of a project, each named in its first line; the last one is its tests."""
    found = [part for part in parts((DOCS / DJANGO).read_text(encoding="utf-8")) if part.kind == FAMILY]
    modules = {_name(part): part for part in found}
    monkeypatch.setitem(sys.modules, "myproject", ModuleType("myproject"))
    for name, part in modules.items():
        if name in {"myproject.settings", "myproject.tests"}:
            continue
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        run(part, DJANGO, vars(module))
        setattr(sys.modules["myproject"], name.rpartition(".")[2], module)
    settings: dict[str, object] = {}
    run(modules["myproject.settings"], DJANGO, settings)
    given = {name: value for name, value in settings.items() if name.isupper()}
    assert {"KEYTURN_GUARD", "MIDDLEWARE"} == set(given)
    with override_settings(**given, ROOT_URLCONF="myproject.urls"):
        assert import_module("myproject.auth").guard is not None
        run(modules["myproject.tests"], DJANGO, {"__name__": "myproject.tests"})


def test_each_page_is_found() -> None:
    """The guides of this family have snippets that are run here."""
    assert {"howto/flask.md", DJANGO, "howto/move-from-authlib.md", "howto/move-from-flask-jwt-extended.md"} <= set(pages(FAMILY))


def test_the_matrix() -> None:
    """The documentation shows for each adapter what was checked, and why something cannot be."""
    page = (DOCS / "reference" / "web-conformance.md").read_text(encoding="utf-8")
    assert [] == missing_from(page, [*test_wsgi.KINDS, *test_flask.KINDS, *test_django_conformance.KINDS])


def _name(part: Part) -> str:
    """Return the name of the module that a snippet is, from its first line `# myproject/urls.py`."""
    first = part.code.splitlines()[0]
    assert first.startswith("# myproject/"), f"line {part.line} of {DJANGO} names no file"
    return first.removeprefix("# ").removesuffix(".py").replace("/", ".")
