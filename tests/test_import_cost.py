"""What an import brings along, told by `sys.modules` of a fresh process and never by a stopwatch.

1. `import keyturn` loads no HTTP client, event loop, web framework, store's client or testing library: whoever does not
   use them does not pay for them.
2. `import keyturn.cli` neither: `keyturn --help` is quick, and a command loads what it needs when it runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

UNWANTED = {
    "HTTP clients": ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "aiohttp", "urllib3"),
    "event loops": ("asyncio", "trio", "anyio", "sniffio", "uvloop", "gevent"),
    "web frameworks": (
        "aiohttp",
        "bottle",
        "django",
        "falcon",
        "fastapi",
        "flask",
        "litestar",
        "quart",
        "rest_framework",
        "sanic",
        "starlette",
        "tornado",
    ),
    "clients of stores": ("redis", "valkey", "sqlalchemy", "pymemcache"),
    "testing libraries": ("pytest", "_pytest", "hypothesis", "respx", "trustme", "unittest"),
    "metadata parsers": ("defusedxml", "lxml", "xml.etree"),
    "our upper layers": ("keyturn.cli", "keyturn.integrations", "keyturn.testing"),
}


def loaded(module: str, source: Path) -> set[str]:
    """Return the names in `sys.modules` after a fresh interpreter has imported *module* from *source*."""
    code = f"import sys, {module}; print(*sorted(sys.modules), sep='\\n')"
    # Coverage of a subprocess is not measured, and its start-up hook would load modules of its own.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTHON"))} | {"PYTHONPATH": str(source)}
    result = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == result.returncode, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("kind", UNWANTED)
def test_importing_keyturn_loads_nothing_else(kind: str) -> None:
    """`import keyturn` loads nothing of this kind (1)."""
    assert set() == set(UNWANTED[kind]) & loaded("keyturn", SOURCE)


def test_importing_the_command_line_loads_no_command() -> None:
    """`import keyturn.cli` loads no HTTP client, no event loop and no fake issuer (2)."""
    heavy = {*UNWANTED["HTTP clients"], *UNWANTED["event loops"], *UNWANTED["testing libraries"], "keyturn.testing"}
    assert set() == heavy & loaded("keyturn.cli", SOURCE)


def test_an_unwanted_import_is_found(tmp_path: Path) -> None:
    """The check sees a module that the package itself did not name, but loads."""
    package = tmp_path / "keyturn"
    package.mkdir()
    (package / "__init__.py").write_text("from keyturn import client\n", encoding="utf-8")
    (package / "client.py").write_text("import asyncio\n", encoding="utf-8")

    assert {"asyncio", "keyturn.client"} <= loaded("keyturn", tmp_path)
