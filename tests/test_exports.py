"""`keyturn.__all__` is the public face: complete, sorted, and described.

1. What is public is in `__all__`, and what is in `__all__` is there, under the name by which a type checker sees it.
2. Constants come first, then classes, then functions, each by name.
3. Every public name, method and property says what it means, in its own docstring.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import keyturn
from keyturn import errors, events

SOURCE = Path(keyturn.__file__).parent

CONTRACT = {
    *("TokenValidator", "ValidatedToken", "IssuerRouter", "by_issuer", "DEFAULT_ALGORITHMS"),
    *("KeySetClient", "KeySetStatus", "KeySource", "StaticKeySet", "RolloverPolicy"),
    *("KeySet", "SigningKey", "DiscoveryDocument"),
    *("Fetcher", "FetchedDocument", "HttpxFetcher", "Clock", "Store", "MemoryStore", "FileStore"),
}
"""Names that the documentation promises, apart from errors and events, which are counted below."""


def order(name: str) -> tuple[int, str]:
    """Return where *name* stands in a sorted `__all__`."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def stray(module: ModuleType | SimpleNamespace) -> set[str]:
    """Return the names that are public in *module* or in its `__all__`, but not in both; submodules do not count."""
    public = {name for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    return (public - {"annotations"}) ^ {name for name in module.__all__ if not name.startswith("_")}


def described_constants(source: Path) -> set[str]:
    """Return the names below *source* that a string literal on the next line describes."""
    found = set()
    for path in source.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for statement, following in pairwise(body):
            text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str)
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            found |= {target.id for target in targets if text and isinstance(target, ast.Name)}
    return found


def undescribed(name: str, value: object, constants: set[str]) -> Iterator[str]:
    """Yield what of the public *name* has no docstring of its own: itself, or a method or property of it."""
    if not inspect.isclass(value) and not inspect.isroutine(value):
        if name not in constants:
            yield name
        return
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    # A dataclass without a docstring is given its signature as one.
    if not own or own.startswith(f"{name}("):
        yield name
    for member, attribute in vars(value).items() if inspect.isclass(value) else ():
        function = getattr(attribute, "__func__", attribute)
        if not member.startswith("_") and (inspect.isroutine(function) or isinstance(attribute, property)) and not function.__doc__:
            yield f"{name}.{member}"


def homes_for_type_checkers(source: Path) -> dict[str, str]:
    """Return the module of every name that `__init__` imports where only a type checker looks."""
    tree = ast.parse((source / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_all_is_complete() -> None:
    """Nothing public is missing from `__all__`, and nothing in it is missing from the package."""
    for name in keyturn.__all__:
        getattr(keyturn, name)
    assert {"TYPE_CHECKING", "import_module"} == stray(keyturn)


def test_names_load_from_where_type_checkers_see_them() -> None:
    """The table of lazy names, the imports for type checkers and `__all__` say the same."""
    assert homes_for_type_checkers(SOURCE) == keyturn._HOME_OF
    assert set(keyturn.__all__) == set(keyturn._HOME_OF) == set(dir(keyturn))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'TokenValidater'"):
        keyturn.TokenValidater  # noqa: B018


def test_all_is_sorted() -> None:
    """`__all__` is in order and names nothing twice."""
    assert sorted(set(keyturn.__all__), key=order) == list(keyturn.__all__)


def test_the_contract_is_kept() -> None:
    """Every promised name is exported."""
    assert set() == CONTRACT - set(keyturn.__all__)


def test_every_error_and_event_is_exported() -> None:
    """Callers catch errors and handle events by names of `keyturn` alone."""
    bases = {errors: errors.KeyturnError, events: events.Event}
    defined = {name for module, base in bases.items() for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)}
    # The base of the events about one key is never sent itself; a handler may do without its name.
    assert set() == defined - set(keyturn.__all__) - {"KeyEvent"}


def test_everything_is_described() -> None:
    """Every exported name, and every public method and property of it, has a docstring of its own."""
    constants = described_constants(SOURCE)
    missing = [text for name in keyturn.__all__ if not name.startswith("_") for text in undescribed(name, getattr(keyturn, name), constants)]
    assert [] == missing


def test_a_stray_name_is_found() -> None:
    """The check sees a public name outside `__all__`, and a name in `__all__` that nothing has."""
    assert {"Forgotten", "Gone"} == stray(SimpleNamespace(__all__=["Gone", "Kept"], Kept=1, Forgotten=2, _private=3))


def test_constants_stand_first() -> None:
    """The order is by kind before it is by name."""
    assert ["A_LIMIT", "Z_LIMIT", "Base", "Zero", "alpha"] == sorted(["alpha", "Zero", "Z_LIMIT", "Base", "A_LIMIT"], key=order)


def test_a_missing_docstring_is_found(tmp_path: Path) -> None:
    """The check sees undescribed classes, dataclasses, functions, methods, properties and constants, and no others."""
    text = '''
from dataclasses import dataclass

class Plain: pass

@dataclass
class Record:
    field: int

class Described:
    """Said."""
    def method(self): pass
    @classmethod
    def make(cls): pass
    @property
    def size(self): return 1
    def told(self):
        """Said."""
    def _private(self): pass

class Child(Described): pass

def function(): pass

LIMIT = 1
KNOWN = 2
"""Said."""
TYPED: int = 3
"""Said."""
'''
    (tmp_path / "sample.py").write_text(text, encoding="utf-8")
    names: dict[str, object] = {"__name__": "sample"}
    exec(compile(text, "sample.py", "exec", dont_inherit=True), names)
    public = ["Plain", "Record", "Described", "Child", "function", "LIMIT", "KNOWN", "TYPED"]

    found = [missing for name in public for missing in undescribed(name, names[name], described_constants(tmp_path))]

    assert ["Plain", "Record", "Described.method", "Described.make", "Described.size", "Child", "function", "LIMIT"] == found
