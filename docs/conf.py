"""How Sphinx builds the documentation; `make docs` runs it with every warning as an error.

Pages are Markdown (MyST). The reference comes from docstrings, inside a fence of the kind `{eval-rst}`:
`.. automodule:: keyturn.errors` or `.. autoclass:: keyturn.TokenValidator`.
"""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path
from re import DOTALL, MULTILINE, Match
from re import compile as pattern
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import Config, GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "keyturn"
author = "keyturn contributors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
release = version = _PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "keyturn"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings put names between single backticks, as Markdown does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}

# Each web adapter imports its framework, which the environment of the documentation need not have.
autodoc_mock_imports = [
    "aiohttp",
    "asgiref",
    "authlib",
    "django",
    "fastapi",
    "fastmcp",
    "flask",
    "flask_jwt_extended",
    "grpc",
    "joserfc",
    "litestar",
    "mcp",
    "ninja",
    "pydantic",
    "quart",
    "rest_framework",
    "starlette",
    "werkzeug",
]

nitpicky = True
# The build reaches no network, so names of other packages have no inventory to be found in; our own must resolve.
nitpick_ignore_regex = [("py:.*", r"(?!keyturn\b).*")]
# A type variable is no class that could be described.
nitpick_ignore = [
    ("py:class", "keyturn.integrations.aiohttp.Handler"),
    ("py:class", "keyturn.integrations.django.View"),
    ("py:class", "keyturn.integrations.flask.View"),
    ("py:class", "keyturn.integrations.quart.View"),
    ("py:class", "keyturn.integrations.starlette.Endpoint"),
    ("py:class", "keyturn.testing.unit.T"),
]

# A field is described under "Attributes" alone; without this it would become an object for a second time.
_GOOGLE = Config(napoleon_use_ivar=True)
_FENCE = pattern(r"^```(\w*)\n(.*?)^```$", MULTILINE | DOTALL)


def _code_block(fence: Match[str]) -> str:
    language, code = fence.groups()
    return f".. code-block:: {language or 'text'}\n\n{textwrap.indent(code, '    ')}"


def _prepare(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:  # noqa: PLR0917 - Sphinx calls it so
    """Turn a docstring, Google style with Markdown's fences, into reStructuredText.

    Napoleon's own hook would read "Seconds: more words" under a constant as its type and its description; here such a
    docstring is text like any other.
    """
    kind = "method" if what in {"attribute", "data", "property"} else what
    text = _FENCE.sub(_code_block, "\n".join(lines))
    lines[:] = GoogleDocstring(text, _GOOGLE, app, kind, name, obj, options).lines()


def setup(app: Sphinx) -> None:
    """Let Sphinx hand every docstring over."""
    app.connect("autodoc-process-docstring", _prepare)
