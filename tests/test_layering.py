"""Imports run one way, and the core stays pure.

1. Every module belongs to one layer, and imports only from layers that stand below its own, or from its own.
2. `_core` reads no clock, socket, environment or file: its imports come from a short list of packages, not from all but a few.
3. Inside the package a name is imported from the module that defines it, never from the package's `__init__`.
4. Every import counts: inside functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "keyturn"
PACKAGE = "keyturn"

# What stands below each layer. A layer that is not listed here does not exist; `__init__` and `__main__` only gather.
_CORE = {"errors", "events", "clock", "_core"}
_CLIENT = _CORE | {"fetching", "stores", "client"}
_VALIDATOR = _CLIENT | {"validator"}
_ISSUERS = _VALIDATOR | {"issuers"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "events": {"errors", "clock"},
    "_core": {"errors", "events", "clock"},
    "fetching": _CORE,
    "stores": _CORE,
    "client": _CLIENT,
    "validator": _VALIDATOR,
    "issuers": _ISSUERS,
    "integrations": _ISSUERS,
    "testing": _ISSUERS,
    # It replays histories with the client's own rules, and validates no token.
    "simulation": _CLIENT,
    # The fake issuer as a service.
    "serving": _CORE | {"testing"},
    # It asks services over HTTP before the fake issuer, and validates no token.
    "drill": _CORE | {"client", "testing"},
    # `keyturn demo` and `keyturn serve` play with the fake issuer, `keyturn simulate` replays, `keyturn drill` drills.
    "cli": _ISSUERS | {"testing", "simulation", "serving", "drill"},
    "__main__": {"cli"},
    "__init__": _VALIDATOR,
}
LAYER_OF = {
    "_connection": "fetching",
    "sources": "client",
    "status": "client",
    "_headers": "validator",
    "_judging_settings": "validator",
    "_pytest_plugin": "testing",
    "_token_cache": "validator",
    "dialect": "validator",
    "readings": "validator",
    "router": "validator",
    "validated_token": "validator",
}

# Parts of the standard library that compute and do nothing else.
PURE = {
    *("__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "enum"),
    *("functools", "hashlib", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "textwrap"),
    *("types", "typing", "unicodedata", "urllib.parse"),
    # The rest of email.utils asks for the time and for the name of the machine.
    "email.utils.parsedate_to_datetime",
}
CORE_PACKAGES = {"cryptography", "jwt"}
CORE_PACKAGES_OF = {"_core.speed": {"orjson", "pybase64"}, "_core.strict_xml": {"defusedxml"}, "_core.metadata_signature": {"lxml", "signxml"}}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
CLOCK_CALLS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
FROM_CLOCK = "Instant"
"""The only name of `clock` that the core may use: an instant is handed in, never read."""


@dataclass(frozen=True)
class Import:
    """One imported module, and the name taken from it, if one was."""

    module: str
    name: str | None
    line: int


def modules(source: Path) -> dict[str, Path]:
    """Return every module below *source* by its dotted name inside the package; the package itself is `__init__`."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(tree: ast.Module, package: tuple[str, ...]) -> Iterator[Import]:
    """Yield every import of *tree*, relative ones resolved against *package*, the dotted name of the folder it lies in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)


def layer(module: str) -> str:
    """Return the layer of *module*; a private module that LAYER_OF does not place is a part of the client."""
    top = module.split(".", maxsplit=1)[0]
    if top in MAY_IMPORT:
        return top
    return LAYER_OF.get(top) or ("client" if top.startswith("_") else top)


def target(found: Import, known: dict[str, Path]) -> str | None:
    """Return which module of the package *found* means, or None if it means another package."""
    parts = found.module.split(".")
    if parts[0] != PACKAGE:
        return None
    inner = ".".join([*parts[1:], *([found.name] if found.name else [])])
    return inner if inner in known else ".".join(parts[1:]) or "__init__"


def faults(source: Path) -> list[str]:
    """Return everything below *source* that breaks a rule of this file, as `module:line: what`."""
    known = modules(source)
    result = []
    for module, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        folder = path.parent.relative_to(source).parts
        if layer(module) not in MAY_IMPORT:
            result.append(f"{module}:1: belongs to no layer")
            continue
        for found in imports(tree, (PACKAGE, *folder)):
            inner = target(found, known)
            what = _import_fault(module, found, inner)
            if what:
                result.append(f"{module}:{found.line}: {what}")
        if layer(module) == "_core":
            result.extend(f"{module}:{line}: {what}" for line, what in _impure_calls(tree))
    return result


def _import_fault(module: str, found: Import, inner: str | None) -> str | None:
    own = layer(module)
    if inner is None:
        return _foreign_fault(module, found) if own == "_core" else None
    if inner == "__init__":
        return f"imports {found.name or PACKAGE} from the package instead of the module that defines it"
    if layer(inner) != own and layer(inner) not in MAY_IMPORT[own]:
        return f"{own} imports {layer(inner)}"
    if own == "_core" and layer(inner) == "clock" and found.name != FROM_CLOCK:
        return f"the core takes {found.name or 'all'} from clock"
    return None


def _foreign_fault(module: str, found: Import) -> str | None:
    top = found.module.split(".")[0]
    joined = f"{found.module}.{found.name}" if found.name else found.module
    if top in sys.stdlib_module_names:
        pure = top in PURE or found.module in PURE or joined in PURE
        return None if pure else f"the core imports {joined}"
    return None if top in CORE_PACKAGES | CORE_PACKAGES_OF.get(module, set()) else f"the core imports {joined}"


def _impure_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.lineno, f"the core calls {node.func.id}()"
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).split(".")[-1]
            if (owner, node.attr) in CLOCK_CALLS:
                yield node.lineno, f"the core reads the clock by {owner}.{node.attr}"


def test_imports_run_one_way() -> None:
    """No module of keyturn breaks a rule of this file."""
    assert [] == faults(SOURCE)


def test_the_layers_are_there() -> None:
    """The check reads the real source: a wrong path would find no fault in nothing."""
    assert {"errors", "events", "clock", "_core", "fetching", "stores"} <= {layer(module) for module in modules(SOURCE)}


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("errors.py", "from keyturn.events import Event", "errors imports events"),
        ("clock.py", "from keyturn.errors import KeyturnError", "clock imports errors"),
        ("events.py", "from .fetching import Fetcher", "events imports fetching"),
        ("_core/jwk.py", "from keyturn.stores.store import Store", "_core imports stores"),
        ("_core/jwk.py", "from ..client import KeySetClient", "_core imports client"),
        ("fetching.py", "import keyturn.stores.store", "fetching imports stores"),
        ("stores/store.py", "from keyturn import fetching", "stores imports fetching"),
        ("client.py", "from keyturn.validator import TokenValidator", "client imports validator"),
        ("_flight.py", "from keyturn.validator import TokenValidator", "client imports validator"),
        ("status.py", "from keyturn.router import IssuerRouter", "client imports validator"),
        ("router.py", "from keyturn.issuers.entra import entra", "validator imports issuers"),
        ("validator.py", "def f():\n    from keyturn.testing import FakeClock", "validator imports testing"),
        ("issuers/entra.py", "from keyturn.integrations import fastapi", "issuers imports integrations"),
        ("integrations/django.py", "from keyturn.testing import FakeIssuer", "integrations imports testing"),
        ("testing/fake.py", "from keyturn.cli import main", "testing imports cli"),
        ("testing/fake.py", "from keyturn.integrations import fastapi", "testing imports integrations"),
        ("testing/fake.py", "from keyturn.simulation import replay", "testing imports simulation"),
        ("testing/fake.py", "from keyturn.serving.control import Control", "testing imports serving"),
        ("testing/fake.py", "from keyturn.drill.engine import run_drill", "testing imports drill"),
        ("drill/target.py", "from keyturn.validator import TokenValidator", "drill imports validator"),
        ("serving/tokens.py", "from keyturn.validator import TokenValidator", "serving imports validator"),
        ("simulation/replay.py", "from keyturn.validator import TokenValidator", "simulation imports validator"),
        ("simulation/replay.py", "from keyturn.testing import FakeClock", "simulation imports testing"),
        ("_keeper.py", "from keyturn.simulation.replay import Replay", "client imports simulation"),
        ("__init__.py", "from keyturn.testing import FakeIssuer", "__init__ imports testing"),
        ("client.py", "from keyturn import RolloverPolicy", "imports RolloverPolicy from the package"),
        ("client.py", "import keyturn", "imports keyturn from the package"),
        ("drawer.py", "", "belongs to no layer"),
        ("_core/a.py", "import time", "the core imports time"),
        ("_core/a.py", "if TYPE_CHECKING:\n    import threading", "the core imports threading"),
        ("_core/a.py", "def f():\n    import asyncio", "the core imports asyncio"),
        ("_core/a.py", "from logging import getLogger", "the core imports logging.getLogger"),
        ("_core/a.py", "import os.path", "the core imports os.path"),
        ("_core/a.py", "import random, math", "the core imports random"),
        ("_core/a.py", "from socket import socket", "the core imports socket.socket"),
        ("_core/a.py", "from urllib import request", "the core imports urllib.request"),
        ("_core/a.py", "from email.utils import formatdate", "the core imports email.utils.formatdate"),
        ("_core/a.py", "import httpx", "the core imports httpx"),
        ("_core/a.py", "import defusedxml", "the core imports defusedxml"),
        ("_core/strict_xml.py", "import lxml.etree", "the core imports lxml.etree"),
        ("_core/a.py", "from keyturn.clock import real_seconds", "the core takes real_seconds from clock"),
        ("_core/a.py", "from keyturn.clock import Instant, read", "the core takes read from clock"),
        ("_core/a.py", "from keyturn import clock", "the core takes clock from clock"),
        ("_core/a.py", "import keyturn.clock", "the core takes all from clock"),
        ("_core/a.py", "import datetime\nnow = datetime.datetime.now()", "the core reads the clock by datetime.now"),
        ("_core/a.py", "from datetime import date\nf = date.today", "the core reads the clock by date.today"),
        ("_core/a.py", "text = open('keys.json').read()", "the core calls open()"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, file: str, line: str, fault: str) -> None:
    """A tree with one import that runs the wrong way is reported, once, with the module that breaks the rule."""
    _tree(tmp_path, {file: line})

    (message,) = faults(tmp_path)

    assert fault in message
    assert message.startswith(file.removesuffix(".py").replace("/", ".") + ":")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("events.py", "from keyturn.errors import KeyturnError"),
        ("fetching.py", "from keyturn._connection import Watched"),
        ("_core/a.py", "import json\nfrom collections.abc import Mapping\nfrom urllib.parse import urlsplit"),
        ("_core/a.py", "from keyturn.clock import Instant\nfrom .b import name\nfrom cryptography import x509\nimport jwt.algorithms"),
        ("_core/a.py", "from . import b\nfrom .b import name\nfrom datetime import UTC, datetime\nwhen = datetime.fromtimestamp(0, UTC)"),
        ("_core/strict_xml.py", "import defusedxml.ElementTree"),
        ("_core/metadata_signature.py", "import signxml\nfrom lxml import etree"),
        ("fetching.py", "import time\nimport httpx\nfrom keyturn._core.a import name"),
        ("client.py", "from keyturn._flight import Flight\nfrom keyturn.status import KeySetStatus\nimport threading"),
        ("_flight.py", "from keyturn.fetching import Fetcher"),
        ("testing/fake.py", "from keyturn.validator import TokenValidator\nfrom keyturn.fetching import Fetcher"),
        ("cli/demo.py", "from keyturn.testing import FakeIssuer\nfrom keyturn.router import IssuerRouter"),
        ("simulation/replay.py", "from keyturn._flight import Flight\nfrom keyturn._core.a import name"),
        ("cli/simulate.py", "from keyturn.simulation import replay"),
        ("cli/drill.py", "from keyturn.drill.engine import run_drill"),
        ("drill/stage.py", "from keyturn.testing.issuer import FakeIssuer"),
        ("__main__.py", "from keyturn.cli import main"),
        ("__init__.py", "from keyturn.router import IssuerRouter\nfrom keyturn.errors import KeyturnError"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, line: str) -> None:
    """The check is no stricter than the rules: imports that run downwards, and the pure parts of the library, pass."""
    _tree(tmp_path, {file: line})

    assert [] == faults(tmp_path)


def _tree(root: Path, changed: dict[str, str]) -> None:
    """Write a package with one empty module of every layer, apart from what *changed* says."""
    names = ["__init__", "errors", "events", "clock", "fetching", "client", "_connection", "_flight", "status", "validator", "router", "_core/b"]
    names += [f"{folder}/__init__" for folder in ("_core", "stores", "issuers", "integrations", "testing", "simulation", "cli")]
    for file, text in ({f"{name}.py": "" for name in [*names, "stores/store", "issuers/entra", "integrations/fastapi"]} | changed).items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
