"""Changes of JSON that leave it JSON, or nearly: what blind changes of bytes would need ages to find.

Objects are lists of members here, so that a name may be repeated and its place may change.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any


class Members(list[tuple[str, Any]]):
    """An object as the list of its members, repeated names among them."""


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 60, 1.5, -0.0, 1e308, float("inf"), float("nan"), 2**31, 2**53 + 1, 2**63, 10**29, 10**30, 10**400),
    *("", " ", "0", "1", "null", "none", "\0", "\x1b[2J", "\ud800", "\u202e", "caf\u00e9", "\U0001f511", "A", "AA", "AQAB", "A=", "x" * 257),
    *([], [[]], [None], [""], Members(), Members([("", None)]), Members([("a", 1), ("a", 2)])),
)
"""Values at the edges of what a reader may expect."""


def parsed(text: bytes) -> Any:
    """Return the value of JSON text.

    Raises:
        ValueError: It is not JSON that can be edited.
    """
    try:
        return json.loads(text, object_pairs_hook=Members)
    except RecursionError:
        raise ValueError("too deep") from None


def printed(value: Any) -> bytes:
    """Return *value* as JSON text; half a surrogate pair is written as an escape, and a text that is not one as it is."""
    return _printed(value).encode("utf-8", "surrogatepass")


def _printed(value: Any) -> str:
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(name)}:{_printed(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_printed, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**100:
        return "1" + "0" * 400
    return json.dumps(value)


def edited(value: Any, chance: random.Random, words: Sequence[Any]) -> Any:
    """Return *value* with one change at one place of it.

    Args:
        value: What `parsed()` returned; it is not changed itself.
        chance: Where and what.
        words: Names and values of the format at hand, beside `VALUES`.
    """
    return _at(value, chance, lambda place: _changed(place, chance, words))


def _at(value: Any, chance: random.Random, change: Callable[[Any], Any]) -> Any:
    """Return *value* with *change* made to it or to something inside."""
    if not isinstance(value, list) or not value or chance.random() < 0.3:
        return change(value)
    place = chance.randrange(len(value))
    inside = value[place]
    new = (inside[0], _at(inside[1], chance, change)) if isinstance(value, Members) else _at(inside, chance, change)
    return type(value)([*value[:place], new, *value[place + 1 :]])


def _changed(value: Any, chance: random.Random, words: Sequence[Any]) -> Any:
    if not isinstance(value, list) or not value:
        return _word(chance, words)
    place = chance.randrange(len(value))
    before, found, after = value[:place], value[place], value[place + 1 :]
    new = (_name(chance, words), _word(chance, words)) if isinstance(value, Members) else _word(chance, words)
    ways: tuple[Callable[[], list[Any]], ...] = (
        lambda: [*before, *after],
        lambda: [*before, new, found, *after],
        lambda: [*before, found, found, *after],
        lambda: [*after, found, *before],
        lambda: [*before, _other_name(found, chance, words), *after],
    )
    return type(value)(chance.choice(ways)())


def _other_name(found: Any, chance: random.Random, words: Sequence[Any]) -> Any:
    return (_name(chance, words), found[1]) if isinstance(found, tuple) else _word(chance, words)


def _name(chance: random.Random, words: Sequence[Any]) -> str:
    return str(chance.choice([word for word in words if isinstance(word, str)] or ["a"]))


def _word(chance: random.Random, words: Sequence[Any]) -> Any:
    return chance.choice(words if words and chance.random() < 0.5 else VALUES)
